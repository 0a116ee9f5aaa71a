"""What the end of a child means, by its work folder: it did its work, or a diagnosis."""

from pathlib import Path

from tidemill.address import Address
from tidemill.child import ChildEnd, ChildLimits
from tidemill.errors import FailureClass
from tidemill.failures import Diagnosis, diagnose
from tidemill.records import Stage
from tidemill.steps.compile import OUTPUT
from tidemill.steps.table import STEPS
from tidemill.steps.work.protocol import ChildError, Response, read_response

LOG = "log.txt"


def diagnosis_of(
    stage: Stage, *, end: ChildEnd, limits: ChildLimits, folder: Path
) -> Diagnosis | None:
    """None when the child of the work folder ``folder`` did its work. Raises OSError."""
    trouble = _trouble(stage, end=end, folder=folder)
    if trouble is None:
        return None
    log = (folder / LOG).read_text(encoding="utf-8", errors="replace").replace(f"{folder}/", "")
    cause = trouble if isinstance(trouble, ChildError) else None
    return diagnose(stage, end=end, limits=limits, log=log, error=cause)


def told(diagnosis: Diagnosis, *, stage: Stage, address: Address) -> tuple[str, ...]:
    """The lines of a diagnosis; those of a fetch name the source as its manifest does."""
    first, *more = diagnosis.lines or ("",)
    if stage != "fetch" or not first:
        return diagnosis.lines
    return (f"source {address.component}: {first}", *more)


def _trouble(stage: Stage, *, end: ChildEnd, folder: Path) -> ChildError | str | None:
    """None when the child made what it should have; its own error; or a word for anything else."""
    well = end.ending == "exit" and end.code == 0
    if STEPS[stage].runner == "iree-compile":
        made = folder / OUTPUT
        return None if well and made.is_file() and made.stat().st_size else "no output"
    answer = answer_of(folder)
    if isinstance(answer, ChildError):
        return answer
    if not well or answer is None:
        return "no answer"
    verdict = answer.facts.get("verdict")
    if verdict is not None and not verdict["holds"]:
        return ChildError(failure=FailureClass.NUMERICS, message="\n".join(verdict["reasons"]))
    return None


def answer_of(folder: Path) -> Response | ChildError | None:
    """What the child answered; None when it ended without an answer that can be read."""
    try:
        return read_response(folder)
    except (FileNotFoundError, ValueError):
        return None


def last_line(log: Path, *, tail: int = 2048) -> str:
    """The last line that is not empty in a log that is still being written; empty if none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - tail))
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
