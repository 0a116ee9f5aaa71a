"""Options of exporters: what is wrong with one is told when the manifest is read, not later."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.edits import COMPONENT, edited, problems_of
from tidemill.code import closure
from tidemill.exporters import EXPORTERS, Option
from tidemill.exporters.sharktank_spec import DTYPES, KERNELS

LLAMA = "dim: 8, hidden_dim: 8, layers: 1, heads: 2, kv_heads: 2, vocab: 9, max_seq: 9"


@pytest.mark.parametrize(
    ("exporter", "options", "problem"),
    [
        ("sentence_encoder", "pooling: meen", ".pooling: unknown value 'meen' (did you mean"
            " 'mean'? known: cls, mean)"),
        ("sentence_encoder", "pooling: true",
            ".pooling: expected text (known: cls, mean), got bool True"),
        ("sentence_encoder", "normalize: 'no'",
            ".normalize: expected true or false, got str 'no'"),
        ("sentence_encoder", "unused: position_ids",
            ".unused: expected a list of texts, got str 'position_ids'"),
        ("sentence_encoder", "unused: [1]", ".unused: expected a list of texts, got list [1]"),
        ("diffusers_vae", "direction: decoder",
            ".direction: unknown value 'decoder' (did you mean 'decode'? known: decode, encode)"),
        ("diffusers_unet", "guidance: 1", ".guidance: expected true or false, got int 1"),
        ("llama2c", f"{LLAMA}, shared_classifier: 0",
            ".shared_classifier: expected true or false, got int 0"),
        ("llama2c", LLAMA.replace("heads: 2", "heads: 0", 1),
            ".heads: expected a whole number, at least 1, got 0"),
        ("llama2c", LLAMA.replace(", heads: 2, kv_heads: 2", ""),
            ": exporter 'llama2c' needs a value for 'heads', 'kv_heads'"),
        ("quantized_lm", "quantize: int5", ".quantize: unknown value 'int5' (did you mean 'int8'?"
            " known: fp8, int4, int8)"),
        ("cached_lm", "positions: 2", ".positions: expected a whole number, at least 3, got 2"),
        ("mobilenet_v2", "width: wide", ".width: expected a number, at least 0, got str 'wide'"),
        ("score_unet", "multiples: [1, 0]",
            ".multiples: expected a list of whole numbers, at least 1, got [1, 0]"),
        ("score_unet", "multiples: []",
            ".multiples: expected a list of whole numbers, at least 1, got []"),
        ("sharktank_llm", "attention_kernel: torch2", ".attention_kernel: unknown value 'torch2'"
            " (did you mean 'torch'? known: decomposed, sharktank, torch)"),
        ("onnx", "opset: 17.5", ".opset: expected a whole number, at least 1, got float 17.5"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_told_of_at_its_place(
    tmp_path: Path, exporter: str, options: str, problem: str
) -> None:
    model = edited(("sentence_encoder", exporter), ("{pooling: mean}", f"{{{options}}}"))
    found = problems_of(tmp_path, model=model)
    assert f"17: {COMPONENT}.options{problem}" in found
    assert sum(".options" in line for line in found) == 1


def test_all_wrong_options_of_a_component_are_told_of(tmp_path: Path) -> None:
    options = "{role: begin, steps: fifty, timestp: train}"
    model = edited(("sentence_encoder", "diffusers_scheduler"), ("{pooling: mean}", options))
    assert [line for line in problems_of(tmp_path, model=model) if ".options" in line] == [
        f"17: {COMPONENT}.options.role: unknown value 'begin' (known: start, step)",
        f"17: {COMPONENT}.options.steps: expected a whole number, at least 1, got str 'fifty'",
        f"17: {COMPONENT}.options.timestp: exporter 'diffusers_scheduler' has no option 'timestp'"
        " (did you mean 'timestep'? known: image_tokens, role, steps, timestep)",
    ]


@pytest.mark.parametrize(
    ("exporter", "options"),
    [
        ("mobilenet_v2", "width: 1, classes: 10"),
        ("mobilenet_v2", "width: 0.35"),
        ("score_unet", "multiples: [1, 2], unused: [], ignore: ['*.x']"),
        ("llama2c", LLAMA),
    ],
)
def test_right_options_are_no_problem(tmp_path: Path, exporter: str, options: str) -> None:
    model = edited(("sentence_encoder", exporter), ("{pooling: mean}", f"{{{options}}}"))
    assert problems_of(tmp_path, model=model) == []


def trees(module: str) -> Iterator[ast.AST]:
    """Every node of an exporter's own source and of what it imports, read, not imported."""
    for path in closure([module]).values():
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def text_choices(module: str) -> dict[str, tuple[str, ...]]:
    """What ``choice(spec, "name", among=(…))`` says in an exporter's code, where it is literal."""
    found = {}
    for node in trees(module):
        match node:
            case ast.Call(
                func=ast.Name(id="choice"),
                args=[_, ast.Constant(value=str(name))],
                keywords=[ast.keyword(value=ast.Tuple() as among)],
            ):
                found[name] = ast.literal_eval(among)
    return found


def keys_of(module: str, name: str) -> tuple[str, ...]:
    """The keys of a dictionary that a module of an exporter defines."""
    for node in trees(f"tidemill.exporters.{module}"):
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=ast.Dict(keys=keys)) if (
                found == name
            ):
                return tuple(ast.literal_eval(key) for key in keys if key)
    raise AssertionError(name)


def test_the_choices_of_the_table_are_those_of_the_exporters() -> None:
    seen = 0
    for info in EXPORTERS.values():
        for name, among in text_choices(info.module).items():
            assert info.options[name].choices == among, f"{info.module}: {name}"
            seen += 1
    assert seen >= 3
    paged = EXPORTERS["sharktank_llm"].options
    assert paged["attention_kernel"].choices == KERNELS
    assert paged["kv_cache_dtype"].choices == paged["attention_dtype"].choices == tuple(DTYPES)
    assert EXPORTERS["quantized_lm"].options["quantize"].choices == keys_of("quantized", "STORED")
    assert EXPORTERS["clip_text"].options["outputs"].choices == keys_of("clip_text", "OUTPUTS")


def test_options_that_an_exporter_reads_in_its_own_file_are_in_the_table() -> None:
    """By the text: ``options.get("name"`` or ``choice(spec, "name"``."""
    for name, info in EXPORTERS.items():
        text = closure([info.module])[info.module].read_text(encoding="utf-8")
        read = set(re.findall(r'(?:options\.get\(|choice\(spec, )"(\w+)"', text))
        assert read <= set(info.options), name


def test_only_a_text_has_choices_and_only_a_number_a_least() -> None:
    options: list[Option] = [one for info in EXPORTERS.values() for one in info.options.values()]
    assert all(one.kind == "text" for one in options if one.choices)
    assert all("number" in one.kind for one in options if one.least is not None)
