"""How long a fetch waits, and when it gives up."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tidemill.errors import WorkError
from tidemill.sources.retry import Patience, TransientError, persevere, retry_after

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0 ", 0.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=NOW) == seconds


def test_waits_grow_up_to_their_bound(capsys: pytest.CaptureFixture[str]) -> None:
    patience = Patience(attempts=5, first=0.02, longest=0.04)

    def fail() -> None:
        raise TransientError("no")

    with pytest.raises(WorkError, match="gave up after 5 attempts: no"):
        persevere(fail, what="x", patience=patience)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"x: no; attempt {number} of 5 failed" for number in range(1, 5)
    ]
