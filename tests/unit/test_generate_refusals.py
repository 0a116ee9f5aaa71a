"""What ``tidemill generate`` answers to a release that it cannot generate from."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.small_talker import COMMAND, CONFIG, VOCABULARY, tokenizer
from tests.unit.shop import Shop
from tests.workbench import toolchain
from tidemill.exporters.irpa import Entry, write_archive
from tidemill.store import open_store

pytestmark = pytest.mark.toolchain

VARIANT = "talker/cached/f32"
ABOUT: dict[str, Any] = {
    "cache": {"layers": 2, "heads": 2, "positions": 40, "width": 8, "dtype": "f32"},
    "ends": [1, 2],
    "longest_prompt": 38,
    "vocabulary": VOCABULARY,
}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    tokenizer(path)
    return path.read_bytes()


def released(folder: Path, **files: bytes) -> Shop:
    """A release of one variant for the cpu; ``files`` are the bytes of kinds."""
    shop = Shop(open_store(str(folder / "store")), folder / "store")
    for kind, data in files.items():
        name = {"config": "config.json", "tokenizer": "tokenizer.json"}.get(kind, f"model.{kind}")
        address = f"{VARIANT}/cpu" if kind == "vmfb" else VARIANT
        digest = shop.store.put_bytes(data)
        shop.add(address, kind, file=f"{address}/{name}", digest=digest, size=len(data))
    shop.publish()
    return shop


def refused(
    shop: Shop, folder: Path, *more: str, prompt: str = "the mill", expect: int = 2
) -> list[str]:
    """The error and its hint."""
    beside = toolchain().python.parents[1] / "lib/python3.11/site-packages"
    command = [sys.executable, "-c", COMMAND, str(beside), "generate", f"{VARIANT}/cpu"]
    done = subprocess.run(
        [*command, "--prompt", prompt, "--channel", "smoke", "--store", str(shop.root), *more],
        cwd=folder,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    assert done.stdout == ""
    *said, _loaded = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    return [line.strip() for line in said if not line.startswith("trust")]


def config(**changes: Any) -> bytes:
    return json.dumps({**ABOUT, **changes}).encode()


ALL = {"mlir": b"module", "irpa": b"parameters", "vmfb": b"no module"}


@pytest.mark.parametrize(
    ("files", "said", "hint"),
    [
        (
            {},
            f"{VARIANT}/cpu has no config.json, so it is no language model with a cache",
            "`tidemill ls` names a config for those that are",
        ),
        (
            {"config": json.dumps(CONFIG).encode(), "tokenizer": None},
            "config.json does not say the shape of a cache: KeyError('ends')",
            "name a component that exporter cached_lm, or one of its kin, has made",
        ),
        (
            {"config": config()},
            "the model was released without a tokenizer",
            "give the tokenizer.json that lies beside its weights with --tokenizer",
        ),
        (
            {"config": config(vocabulary=270), "tokenizer": None},
            "the tokenizer gives token 272, the model has 270",
            "take the tokenizer.json of this model",
        ),
        (
            {"config": config(cache={**ABOUT["cache"], "dtype": "bf16"}), "tokenizer": None},
            "numpy has no bf16, in which the model's cache is",
            "take a variant in f32 or f16",
        ),
    ],
)
def test_what_is_missing_or_does_not_fit_is_said(
    tmp_path: Path, words: bytes, files: dict[str, Any], said: str, hint: str
) -> None:
    given = {kind: words if data is None else data for kind, data in files.items()}
    assert refused(released(tmp_path, **ALL, **given), tmp_path)[-2:] == [f"error: {said}", hint]


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_loaded(
    tmp_path: Path, words: bytes
) -> None:
    shop = released(tmp_path, **ALL, config=config(), tokenizer=words)
    assert refused(shop, tmp_path, prompt="mill" * 38)[-2:] == [
        "error: the prompt has 40 tokens, the model takes 38",
        "shorten it, or raise options.positions of the component",
    ]


def test_a_module_that_cannot_be_loaded_is_a_matter_of_the_tool(
    tmp_path: Path, words: bytes
) -> None:
    shop = released(tmp_path, **ALL, config=config(), tokenizer=words)
    message = refused(shop, tmp_path, expect=3)[-2]
    assert message.startswith("error: ")
    assert " cannot be loaded: " in message


#: A model whose logits are no numbers, as of a network that overflows in float16.
LOST = """
func.func @prefill(%ids: tensor<1x?xi64>, %k: tensor<2x1x2x40x8xf32>, %v: tensor<2x1x2x40x8xf32>)
    -> tensor<1x?x273xf32> {
  %c1 = arith.constant 1 : index
  %nan = arith.constant 0x7FC00000 : f32
  %n = tensor.dim %ids, %c1 : tensor<1x?xi64>
  %e = tensor.empty(%n) : tensor<1x?x273xf32>
  %r = linalg.fill ins(%nan : f32) outs(%e : tensor<1x?x273xf32>) -> tensor<1x?x273xf32>
  return %r : tensor<1x?x273xf32>
}
"""


def test_a_model_whose_logits_are_no_numbers_tells_no_story(tmp_path: Path, words: bytes) -> None:
    """The best of NaN is the first token, again and again."""
    command = [str(toolchain().tool("iree-compile")), "-", "--iree-hal-target-device=local"]
    command += ["--iree-hal-local-target-device-backends=llvm-cpu"]
    command += ["--iree-llvmcpu-target-cpu=generic"]
    done = subprocess.run(command, input=LOST.encode(), capture_output=True, check=True)
    irpa = tmp_path / "one.irpa"
    entry = Entry(name="none", size=4)
    write_archive(irpa, [entry], contents=lambda _: [memoryview(bytes(4))])
    files = {"mlir": LOST.encode(), "irpa": irpa.read_bytes(), "vmfb": done.stdout}
    shop = released(tmp_path, **files, config=config(), tokenizer=words)
    message, hint = refused(shop, tmp_path, expect=3)[-2:]
    said = f"error: {VARIANT}/cpu, function prefill, gives logits that are not numbers (NaN)"
    assert message == said
    assert hint == "the artifact is wrong on this device: tell those who release it"


def test_without_the_device_an_address_for_the_cpu_is_named(tmp_path: Path, words: bytes) -> None:
    shop = released(tmp_path, **ALL, config=config(), tokenizer=words)
    message, hint = refused(shop, tmp_path, "--device", "hip://no-such-device", expect=5)[-2:]
    assert message.startswith("error: there is no hip://no-such-device device here: ")
    assert hint == f"run on a host that has one, or take {VARIANT}/cpu --device local-task"
