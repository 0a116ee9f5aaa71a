"""What quantisation cost, judged."""

import json
from pathlib import Path

import pytest

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.perplexity import judged_quantisation


def report(folder: Path, text: object) -> Path:
    path = folder / "quantization.json"
    path.write_text(json.dumps(text), encoding="utf-8")
    return path


def measured(before: float, after: float) -> dict[str, object]:
    return {"perplexity": {"float": before, "narrowed": after}}


def test_a_small_rise_is_told_and_holds(tmp_path: Path) -> None:
    part, reasons = judged_quantisation(report(tmp_path, measured(200.0, 206.0)), rise=0.05)
    assert part["perplexity"] == {"float": 200.0, "narrowed": 206.0}
    assert part["rise"] == pytest.approx(0.03)
    assert reasons == []


def test_a_fall_is_no_fault(tmp_path: Path) -> None:
    assert judged_quantisation(report(tmp_path, measured(200.0, 150.0)), rise=0.05)[1] == []


def test_more_than_is_allowed_is_a_reason_with_both_numbers(tmp_path: Path) -> None:
    _, reasons = judged_quantisation(report(tmp_path, measured(200.0, 250.0)), rise=0.05)
    assert reasons == ["quantisation: perplexity grew from 200 to 250, by 25.00%; 5.00% is allowed"]


@pytest.mark.parametrize("text", [{}, {"perplexity": {"float": 1.0}}, {"perplexity": 3}, []])
def test_a_report_without_numbers_is_unusable(tmp_path: Path, text: object) -> None:
    with pytest.raises(WorkError) as raised:
        judged_quantisation(report(tmp_path, text), rise=0.05)
    assert raised.value.failure is FailureClass.INFRASTRUCTURE
    assert "quantise again" in raised.value.hint
