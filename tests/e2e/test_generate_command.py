"""A language model with a cache, from its manifest to a text; and that a wrong cache is noticed."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.modules import MAIN
from tests.small_talker import COMMAND, POSITIONS, PROMPTS, TOKENS, make_talker
from tests.workbench import Workbench, toolchain
from tidemill.errors import FailureClass
from tidemill.steps.work.protocol import ChildError, Request, Response, read_response

pytestmark = pytest.mark.toolchain

FRAMEWORKS = {"torch", "transformers", "luigi", "pydantic", "yaml"}
CACHED, VARIANT = "talker/cached/f32/cpu", "talker/cached/f32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A command that has ended; ``loaded`` are the packages that it had imported."""

    out: str
    err: str
    loaded: frozenset[str]


def generate(bench: Workbench, *arguments: str, expect: int = 0) -> Said:
    """``tidemill generate …`` from channel ``talk``, beside the packages of the toolchain."""
    beside = toolchain().python.parents[1] / "lib/python3.11/site-packages"
    command = [sys.executable, "-c", COMMAND, str(beside), "generate", *arguments]
    done = subprocess.run(
        [*command, "--channel", "talk"],
        cwd=bench.root,
        env=bench.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    *said, loaded = done.stderr.strip().splitlines()
    return Said(out=done.stdout, err="\n".join(said), loaded=frozenset(loaded.split()))


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """The tiny model, built, validated and released."""
    bench = make_talker(tmp_path_factory.mktemp("talker") / "work")
    bench.run("talk")
    return bench


def output(bench: Workbench, stage: str, name: str, address: str = VARIANT) -> Path:
    """A file that a stage has made."""
    outputs = {one["name"]: one["digest"] for one in bench.record(stage, address)["outputs"]}
    return bench.blob(outputs[name])


def greedy(bench: Workbench) -> dict[str, Any]:
    """What the reference says of greedy decoding, by transformers' own search."""
    index = json.loads(output(bench, "reference", "reference.json").read_bytes())
    found: dict[str, Any] = index["samples"][0]["greedy"]
    return found


def test_the_verdict_demands_every_token_that_transformers_generates(talker: Workbench) -> None:
    verdict = talker.record("validate", CACHED)["facts"]["verdict"]
    assert verdict["holds"]
    assert verdict["greedy"]["equal"] == verdict["greedy"]["tokens"] == len(PROMPTS) * TOKENS
    assert verdict["summary"]["max_abs"] < 1e-3
    assert len({token for row in greedy(talker)["expected"] for token in row}) > 10, (
        "texts of one token would be no test"
    )


def test_config_and_tokenizer_lie_beside_what_they_belong_to(talker: Workbench) -> None:
    kinds = {one["kind"]: one["file"] for one in talker.call("ls", VARIANT, "--json").json}
    assert kinds["config"] == f"{VARIANT}/config.json"
    assert kinds["tokenizer"] == f"{VARIANT}/tokenizer.json"
    about = json.loads(output(talker, "export", "config.json").read_bytes())
    assert about == {
        "cache": {"layers": 2, "heads": 2, "positions": POSITIONS, "width": 8, "dtype": "f32"},
        "ends": [1, 2],
        "longest_prompt": POSITIONS - 2,
        "vocabulary": 273,
    }


@pytest.mark.parametrize("row", range(len(PROMPTS)))
def test_the_command_says_what_transformers_generates(talker: Workbench, row: int) -> None:
    wanted = greedy(talker)["expected"][row]
    arguments = (CACHED, "--prompt", PROMPTS[row], "--tokens", str(TOKENS))
    done = generate(talker, *arguments, "--json")
    found = json.loads(done.out)
    ends = [at for at, token in enumerate(wanted, 1) if token in {1, 2}]
    assert found["tokens"] == wanted[: min(ends, default=TOKENS)]
    assert found["text"].startswith(PROMPTS[row])
    assert generate(talker, *arguments).out == found["text"] + "\n"
    assert {"iree", "tokenizers"} <= done.loaded
    assert done.loaded & FRAMEWORKS == set()


def test_a_text_that_is_cut_says_so(talker: Workbench) -> None:
    done = generate(talker, CACHED, "--prompt", "the mill", "--tokens", "3")
    assert done.err.endswith("stopped after 3 tokens, since --tokens is 3")
    given = ("--prompt", "the mill" * 4)
    made = json.loads(generate(talker, CACHED, *given, "--json").out)
    if not {1, 2} & {*made["tokens"]}:
        # The last token is not read again, so it needs no place.
        assert len(made["prompt"]) + len(made["tokens"]) == POSITIONS + 1


def test_a_release_without_a_tokenizer_takes_one_from_a_file(talker: Workbench) -> None:
    given = ("talker/mute/f32/cpu", "--prompt", "the mill", "--tokens", "5", "--json")
    done = generate(talker, *given, expect=2)
    assert "error: the model was released without a tokenizer" in done.err.splitlines()
    words = str(talker.root / "manifests/models/talker/tokenizer.json")
    found = json.loads(generate(talker, *given, "--tokenizer", words).out)
    assert found["tokens"] == greedy(talker)["expected"][0][:5]


@pytest.mark.parametrize(
    ("address", "more", "said"),
    [
        (
            "talker/logits/f32/cpu",
            (),
            "talker/logits/f32/cpu has no config.json, so it is no language model with a cache",
        ),
        (CACHED, ("--prompt", "the mill " * 20), "tokens, the model takes 38"),
        (CACHED, ("--tokenizer", "manifests/targets.yaml"), "targets.yaml is not a tokenizer: "),
        (CACHED, ("--device", "abacus"), "the IREE runtime here has no driver for 'abacus'"),
        (VARIANT, (), "was released without VMFB or parameters"),
    ],
)
def test_what_is_wrong_is_said(
    talker: Workbench, address: str, more: tuple[str, ...], said: str
) -> None:
    done = generate(talker, address, "--prompt", "the mill", *more, expect=2)
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """The validation of the released variant again, with other files."""

    bench: Workbench
    folder: Path

    @property
    def mlir(self) -> str:
        return output(self.bench, "export", "model.mlir").read_text(encoding="utf-8")

    def validate(self, mlir: str, *, config: Path | None = None) -> Response | ChildError:
        """What the step says of a module compiled from ``mlir``, with the real flags."""
        source, module = self.folder / "model.mlir", self.folder / "model.vmfb"
        source.write_text(mlir, encoding="utf-8")
        flags = self.bench.record("compile", CACHED)["parts"]["fields"]["flags"]
        command = [toolchain().tool("iree-compile"), source, "-o", module, *flags]
        subprocess.run(command, check=True, capture_output=True)
        # The runtime tells what an archive is by its name.
        parameters = self.folder / "model.irpa"
        parameters.symlink_to(output(self.bench, "pack", "model.irpa"))
        reference = self.bench.record("reference", VARIANT)["outputs"]
        request = Request(
            step="validate",
            fields=self.bench.record("validate", CACHED)["parts"]["fields"],
            inputs={
                "module": {"model.vmfb": str(module)},
                "parameters": {"model.irpa": str(parameters)},
                "config": {
                    "config.json": str(config or output(self.bench, "export", "config.json"))
                },
                "reference": {
                    one["name"]: str(self.bench.blob(one["digest"])) for one in reference
                },
            },
        )
        (self.folder / "request.json").write_text(request.to_json())
        command = [toolchain().python, "-P", MAIN]
        subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
        return read_response(self.folder)


@pytest.fixture
def again(talker: Workbench, tmp_path: Path) -> Again:
    return Again(bench=talker, folder=tmp_path)


def spoiled(mlir: str, change: tuple[str, str]) -> str:
    """``mlir`` with one line of ``decode`` changed; prefill stays as it is."""
    before, decode = mlir.split("func.func @decode", 1)
    assert change[0] in decode
    return f"{before}func.func @decode{decode.replace(*change, 1)}"


KEYS = "torch.overwrite.tensor.contents"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("torch.aten.le.Tensor", "torch.aten.lt.Tensor"), id="not itself"),
        pytest.param(("torch.aten.eq.Tensor", "torch.aten.le.Tensor"), id="over all before"),
        pytest.param((KEYS, f"// {KEYS}"), id="keys forgotten"),
    ],
)
def test_a_decode_that_uses_its_cache_wrongly_does_not_hold(
    again: Again, change: tuple[str, str]
) -> None:
    answer = again.validate(spoiled(again.mlir, change))
    assert isinstance(answer, Response), answer
    verdict = answer.facts["verdict"]
    assert not verdict["holds"]
    assert all("prompt_logits" not in reason for reason in verdict["reasons"]), "prefill is right"
    assert any(reason.startswith("sample rows logits: ") for reason in verdict["reasons"])
    assert verdict["greedy"]["equal"] < verdict["greedy"]["tokens"]


def test_the_same_text_unspoiled_holds(again: Again) -> None:
    answer = again.validate(again.mlir)
    assert isinstance(answer, Response), answer
    assert answer.facts["verdict"]["holds"]


def test_a_module_without_decode_is_named(again: Again) -> None:
    answer = again.validate(again.mlir.replace("func.func @decode", "func.func @decode_one"))
    assert isinstance(answer, ChildError)
    assert answer.failure is FailureClass.COMPILE
    assert answer.message.startswith("model.vmfb has no function 'decode'; it has prefill")


def test_a_cache_of_another_shape_than_the_module_s_is_a_crash(again: Again) -> None:
    about = json.loads(output(again.bench, "export", "config.json").read_bytes())
    about["cache"]["positions"] += 8
    config = again.folder / "config.json"
    config.write_text(json.dumps(about))
    answer = again.validate(again.mlir, config=config)
    assert isinstance(answer, ChildError)
    assert answer.failure is FailureClass.CRASH
    assert answer.message.startswith("the call failed: ")
