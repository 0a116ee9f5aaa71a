"""Outputs have the names that the manifest gives them, and numerics must use those."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.edits import COMPONENT, after_dtypes, edited, problems_of
from tests.unit.test_reference import MAIN, SAMPLE, request_for
from tidemill.steps.work.index import read_index
from tidemill.steps.work.protocol import ChildError, Request, Response, read_response


def reference_with(outputs: list[str], *, folder: Path, python: Path) -> Response | ChildError:
    plain = request_for("f32", {**SAMPLE, "greedy": None})
    fields: dict[str, Any] = {**plain.fields, "outputs": outputs}
    (folder / "request.json").write_text(Request(step="reference", fields=fields).to_json())
    subprocess.run([str(python), "-P", str(MAIN)], cwd=folder, capture_output=True, check=False)
    return read_response(folder)


@pytest.mark.toolchain
def test_the_reference_names_outputs_as_declared(tmp_path: Path, toolchain_python: Path) -> None:
    answer = reference_with(["scores"], folder=tmp_path, python=toolchain_python)
    assert isinstance(answer, Response)
    files = {made.name: tmp_path / "out" / made.name for made in answer.made}
    (sample,) = read_index(files, dtype="f32")["samples"]
    assert [output["name"] for output in sample["outputs"]] == ["scores"]


@pytest.mark.toolchain
def test_as_many_names_as_outputs_or_the_reference_is_refused(
    tmp_path: Path, toolchain_python: Path
) -> None:
    answer = reference_with(["scores", "states"], folder=tmp_path, python=toolchain_python)
    assert isinstance(answer, ChildError)
    assert answer.message == (
        "the manifest names 2 outputs (scores, states), but the program gives 1"
    )


def test_logits_must_be_among_the_declared_outputs(tmp_path: Path) -> None:
    model = edited(after_dtypes("outputs: [scores]\n    numerics: {logits: [logits]}"))
    assert problems_of(tmp_path, model=model) == [
        f"24: {COMPONENT}.numerics.logits[0]: 'logits' is no output of this component"
        " (known: scores)"
    ]
