"""Peers: their inputs are those of the tool, and every repetition has as many calls."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work import peers
from tidemill.steps.work.dtypes import HOLDERS, save_array
from tidemill.steps.work.peer import read, timed
from tidemill.steps.work.protocol import Request


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i64", "bool"])
def test_a_file_is_read_with_its_element_type(tmp_path: Path, dtype: str) -> None:
    given = np.array([[1, 0, 1]], HOLDERS[dtype])
    save_array(tmp_path / "x.npy", given, dtype=dtype)
    array, name = read(f"@{tmp_path / 'x.npy'}")
    assert name == dtype
    assert np.array_equal(array, given)


@pytest.mark.parametrize(
    ("text", "shape", "dtype", "value"),
    [
        ("4x128xi64=1", (4, 128), "i64", 1),
        ("4xsi64=128", (4,), "i64", 128),
        ("2x3xf16", (2, 3), "f16", 0),
        ("2xbf16=0.5", (2,), "bf16", 0.5),
        ("f32=-2.5", (), "f32", -2.5),
    ],
)
def test_a_written_input_is_what_the_tool_makes_of_it(
    text: str, shape: tuple[int, ...], dtype: str, value: float
) -> None:
    array, name = read(text)
    assert (array.shape, name) == (shape, dtype)
    assert array.dtype == HOLDERS[dtype]
    assert (array == value).all()


@pytest.mark.parametrize("text", ["2x2xi32=1 2 3 4", "4xf8E4M3FNUZ", "4xi4=1", "x", ""])
def test_what_cannot_be_made_here_is_a_reason(text: str) -> None:
    with pytest.raises(WorkError, match="cannot make the input"):
        read(text)


def test_every_repetition_has_as_many_calls() -> None:
    calls: list[int] = []

    def call() -> Any:
        calls.append(sum(range(20_000)))

    times = timed(call, repetitions=4, seconds=0.01)
    assert len(times) == 4
    assert min(times) > 0
    assert (len(calls) - 1) % 4 == 0  # one call more says how many are needed


def test_a_call_that_takes_longer_than_a_repetition_is_still_one() -> None:
    calls: list[None] = []
    times = timed(lambda: calls.append(None), repetitions=3, seconds=1e-12)
    assert (len(times), len(calls)) == (3, 4)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program that a peer's process runs, empty as yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(peers, "_MAIN", tmp_path / "main.py")
    return tmp_path / "main.py"


def rows(**fields: Any) -> list[dict[str, Any]]:
    work = peers.Work(name="main", function="main", inputs=["2xf32"], tokens=None)
    request = Request(step="benchmark", fields=fields)
    return peers.measured_peer("onnxruntime", [work, work], request=request, threads=1)


def test_a_peer_that_does_not_end_is_ended_and_its_rows_say_so(
    started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(peers, "_SECONDS", 1)
    assert rows() == [{"why": "was ended: it took more than 1 s"}] * 2


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_peer_that_the_host_kills_is_no_fact_about_the_peer(started: Path, name: str) -> None:
    number = int(signal.Signals[name])
    started.write_text(f"import os; os.kill(os.getpid(), {number})")
    with pytest.raises(WorkError, match=f"peer onnxruntime was killed by {name}") as caught:
        rows()
    assert caught.value.failure is FailureClass.INFRASTRUCTURE


def test_a_peer_that_crashes_by_itself_says_so_in_its_rows(started: Path) -> None:
    started.write_text("import os; os.abort()")
    assert rows() == [{"why": "ended with -6 and no answer; see the log"}] * 2


def test_a_peer_that_the_toolchain_has_not_is_not_started(started: Path) -> None:
    started.write_text("raise SystemExit(1)")
    why = "the component's toolchain pins no package onnxruntime"
    assert rows(absent_peers={"onnxruntime": why}) == [{"why": why}] * 2
    assert not Path("peer-onnxruntime").exists()
