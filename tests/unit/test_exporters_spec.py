"""The request's fields as a Spec."""

from typing import Any

import pytest

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Dimension, InputSpec
from tidemill.steps.work.protocol import Request
from tidemill.steps.work.spec import exporter_of, spec_of

FIELDS: dict[str, Any] = {
    "exporter": "sentence_encoder",
    "dtype": "f16",
    "options": {"pooling": "mean"},
    "inputs": [{"name": "input_ids", "dtype": "i64", "shape": ["batch", 64]}],
    "dynamic": {"batch": {"min": 1, "max": 64}},
    "synthetic": None,
    "pickle": "the publisher has no other file",
}


def request(**changes: Any) -> Request:
    return Request(step="export", fields=FIELDS | changes, inputs={"config": {"a": "b/a"}})


def refusal(**changes: Any) -> WorkError:
    with pytest.raises(WorkError) as raised:
        spec_of(request(**changes))
    return raised.value


def test_every_field_arrives() -> None:
    spec = spec_of(request())
    assert spec.inputs == (InputSpec(name="input_ids", dtype="i64", shape=("batch", 64)),)
    assert spec.dynamic == {"batch": Dimension(min=1, max=64)}
    assert (spec.dtype, spec.pickle_allowed, dict(spec.weights)) == ("f16", True, {})
    assert [str(path) for path in spec.config.values()] == ["b/a"]


def test_a_dimension_without_bounds_is_named() -> None:
    error = refusal(dynamic={})
    assert error.message == "inputs use dynamic dimensions without bounds: batch"
    assert error.failure is FailureClass.EXPORT


def test_bounds_that_no_input_uses_are_named() -> None:
    bounds = {"min": 1, "max": 2}
    error = refusal(dynamic={"batch": bounds, "seq": bounds})
    assert error.message == "no input uses the dynamic dimensions: seq"


def test_a_missing_field_is_a_fault_of_ours() -> None:
    fields = {name: value for name, value in FIELDS.items() if name != "pickle"}
    with pytest.raises(WorkError, match=r"^the request of step pack has no field 'pickle'$"):
        spec_of(Request(step="pack", fields=fields))


def test_an_unknown_exporter_is_refused_by_name() -> None:
    with pytest.raises(WorkError) as raised:
        exporter_of(request(exporter="magic"))
    assert raised.value.message == "there is no exporter 'magic'"
