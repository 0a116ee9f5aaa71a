"""References made by torch in the child process, of a tiny synthetic language model."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidemill
from tidemill.errors import WorkError
from tidemill.exporters.base import InputSpec, Spec
from tidemill.steps.work.dtypes import load_array
from tidemill.steps.work.index import read_index
from tidemill.steps.work.protocol import Request, Response, read_response
from tidemill.steps.work.reference import read_samples

MAIN = Path(tidemill.__file__).parent / "steps/work/main.py"
SAMPLE: dict[str, Any] = {
    "name": "prompt",
    "dims": {"seq": 4},
    "text": None,
    "inputs": {"input_ids": {"kind": "values", "values": [[1, 5, 9, 2]]}},
    "greedy": {"tokens": 3},
}


def request_for(dtype: str, *samples: dict[str, Any]) -> Request:
    return Request(
        step="reference",
        fields={
            "exporter": "llama2c",
            "dtype": dtype,
            "options": {
                "dim": 32,
                "hidden_dim": 48,
                "layers": 2,
                "heads": 4,
                "kv_heads": 2,
                "vocab": 40,
                "max_seq": 16,
            },
            "inputs": [{"name": "input_ids", "dtype": "i64", "shape": [1, "seq"]}],
            "dynamic": {"seq": {"min": 2, "max": 15}},
            "synthetic": {"seed": 3, "scale": 0.4},
            "pickle": "",
            "samples": list(samples),
            "precision": "f64",
        },
    )


@pytest.mark.toolchain
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_a_reference_holds_inputs_outputs_tokens_and_the_noise_of_torch(
    tmp_path: Path, toolchain_python: Path, dtype: str
) -> None:
    (tmp_path / "request.json").write_text(request_for(dtype, SAMPLE).to_json())
    command = [str(toolchain_python), "-P", str(MAIN)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    answer = read_response(tmp_path)
    assert isinstance(answer, Response), done.stdout + done.stderr
    assert {made.kind for made in answer.made} == {"reference"}
    files = {made.name: tmp_path / "out" / made.name for made in answer.made}
    assert sorted(files) == ["prompt.expected0.npy", "prompt.input0.npy", "reference.json"]

    index = read_index(files, dtype=dtype)
    assert (index["dtype"], index["precision"], index["exporter"]) == (dtype, "f64", "llama2c")
    (sample,) = index["samples"]
    assert sample["inputs"] == [
        {"name": "input_ids", "file": "prompt.input0.npy", "dtype": "i64", "shape": [1, 4]}
    ]
    assert load_array(files["prompt.input0.npy"], dtype="i64").tolist() == [[1, 5, 9, 2]]

    (output,) = sample["outputs"]
    expected = load_array(files["prompt.expected0.npy"], dtype="f64")
    assert expected.shape == (1, 4, 40)
    assert not np.array_equal(expected, expected.astype(np.float32)), "was float64 all the way"
    assert output["dtypes"][0] == dtype
    assert output["not_finite"] == 0
    epsilon = {"f16": 2.0**-10, "bf16": 2.0**-7}[dtype]
    assert epsilon / 8 < output["noise"]["rel_l2"] < epsilon * 16
    assert answer.facts["noise"]["prompt output0"]["rel_l2"] == output["noise"]["rel_l2"]

    greedy = sample["greedy"]
    assert (greedy["tokens"], greedy["masks"]) == (3, [])
    assert greedy["expected"][0][0] == int(expected[0, -1].argmax())
    assert sorted(greedy["torch"]) == sorted([dtype, "f32"])
    assert greedy["torch"]["f32"]["agreement"]["equal"] == 3


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "there are no samples: a reference would compare nothing"),
        ([SAMPLE, SAMPLE], "two samples are called prompt"),
        (
            [{**SAMPLE, "name": "../prompt"}],
            "sample '../prompt': a name has letters, digits and . _ - only",
        ),
    ],
)
def test_samples_that_cannot_be_told_apart_are_refused(
    samples: list[dict[str, Any]], message: str
) -> None:
    inputs = (InputSpec(name="input_ids", dtype="i64", shape=(1, 4)),)
    spec = Spec(dtype="f32", options={}, inputs=inputs, dynamic={}, config={})
    with pytest.raises(WorkError) as caught:
        read_samples(request_for("f32", *samples), spec)
    assert caught.value.message == message


def test_the_index_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text(json.dumps({"format": 2, "dtype": "f32"}))
    with pytest.raises(WorkError) as caught:
        read_index({"reference.json": path}, dtype="f32")
    assert caught.value.message == "the reference has format 2, this code reads 1"
