"""Two hosts, one luigid, one S3 server: they share a run, or one is lost in a compile.

Each host is a workspace and a process of its own; they share nothing but the scheduler and the
store, as machines do.
"""

import configparser
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.servers import WRITER, S3Server, seaweedfs
from tests.signing import SIGNER
from tests.workbench import REPO, Workbench
from tidemill.child import die_with_parent
from tidemill.events import EventLog

__all__ = ["seaweedfs"]
pytestmark = pytest.mark.toolchain

LUIGID = Path(sys.executable).with_name("luigid")
#: As luigi.cfg of the checkout has it, only sooner.
_SOONER = {"retry_delay": "1"}
_IMPATIENT = {"worker_disconnect_delay": "4"}


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """The URL of a luigid with the patience of the checkout's."""
    with luigid(tmp_path / "luigid", _SOONER) as url:
        yield url


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[str]:
    """The URL of a luigid that takes four silent seconds for the loss of a worker.

    So may a loaded machine be silent: only for runs in which a worker is to be lost.
    """
    with luigid(tmp_path / "luigid", _SOONER | _IMPATIENT) as url:
        yield url


@contextmanager
def luigid(folder: Path, changed: dict[str, str]) -> Iterator[str]:
    """A luigid of its own in ``folder``, with the checkout's settings but for those ``changed``."""
    folder.mkdir()
    config = configparser.ConfigParser()
    config.read(REPO / "luigi.cfg")
    config["scheduler"].update(changed)
    with (folder / "luigi.cfg").open("w", encoding="utf-8") as file:
        config.write(file)
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(LUIGID), f"--port={port}", "--address=127.0.0.1", "--state-path=state"],
            cwd=folder,
            env={**os.environ, "LUIGI_CONFIG_PATH": str(folder / "luigi.cfg")},
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process)
        yield url
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own server
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("luigid does not answer")


@pytest.fixture
def hosts(template: Workbench, seaweedfs: S3Server, tmp_path: Path) -> tuple[Workbench, Workbench]:
    """Two empty workspaces over one empty bucket, with one signing key."""
    extra = {
        "TIDEMILL_STORE": seaweedfs.store_url(os.urandom(6).hex()),
        "TIDEMILL_SIGNING_KEY": SIGNER.private_bytes.decode(),
        "AWS_ACCESS_KEY_ID": WRITER[0],
        "AWS_SECRET_ACCESS_KEY": WRITER[1],
    }
    made = (template.copy(tmp_path / name, state=False) for name in ("one", "two"))
    one, two = (replace(bench, extra={**bench.extra, **extra}) for bench in made)
    return one, two


def compiling(bench: Workbench) -> bool:
    """Whether a step of this host is a compile that runs now."""
    for request in bench.root.glob(".tidemill/work/*/request.json"):
        try:
            if json.loads(request.read_text(encoding="utf-8"))["step"] == "compile":
                return True
        except (OSError, ValueError):
            continue
    return False


def built_by(bench: Workbench) -> list[str]:
    """What this host says it has built, whatever became of it."""
    return [
        event["node"]
        for event in events_of(bench)
        if event["event"] == "finished" and event["outcome"] == "built"
    ]


def events_of(bench: Workbench) -> list[dict[str, Any]]:
    logs = sorted(bench.root.glob(".tidemill/runs/*/events.jsonl"))
    return [event for log in logs for event in EventLog(log).since()[0]]


def test_a_host_that_is_lost_in_a_compile_is_replaced_by_the_other(
    hosts: tuple[Workbench, Workbench], impatient: str
) -> None:
    """Whichever compiles first is killed: the scheduler may give all compiles to one of them."""
    run = ("run", "small", "--workers", "2", "--json", "--scheduler", impatient)
    pairs = [(bench, bench.start(*run)) for bench in hosts]
    deadline = time.monotonic() + 120
    while not any(compiling(bench) for bench in hosts):
        assert any(process.poll() is None for _, process in pairs), "nothing was compiled"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    pairs.sort(key=lambda pair: compiling(pair[0]), reverse=True)
    (one, first), (two, second) = pairs
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    out, err = second.communicate(timeout=240)
    assert second.returncode == 0, err
    outcomes = {f"{n['stage']}:{n['address']}": n["outcome"] for n in json.loads(out)["nodes"]}
    assert set(outcomes.values()) <= {"built", "reused", "unvalidated"}
    ones, twos = built_by(one), built_by(two)
    assert len(ones + twos) == len(set(ones + twos)), "something was built twice"
    assert {name for name, outcome in outcomes.items() if outcome == "built"} <= set(twos)
    shutil.rmtree(two.root / ".tidemill/work", ignore_errors=True)
    assert two.call("verify", "--channel", "small").code == 0
    again = two.run()
    assert again.built == set()


def in_short(reports: list[dict[str, Any]]) -> str:
    """What did not go well, by host: pytest would cut the whole reports."""
    return "\n".join(
        f"{report['problems']} "
        + ", ".join(
            f"{node['stage']}:{node['address']} {node['outcome']} {node.get('reason', '')}"
            for node in report["nodes"]
            if node["outcome"] not in {"built", "reused", "unvalidated"}
        )
        for report in reports
    )


def test_two_hosts_share_a_run_and_both_end_well(
    hosts: tuple[Workbench, Workbench], scheduler: str
) -> None:
    run = ("run", "small", "--workers", "1", "--json", "--scheduler", scheduler)
    started = [bench.start(*run) for bench in hosts]
    told = [process.communicate(timeout=240) for process in started]
    reports = [json.loads(out) for out, _ in told]
    assert [process.returncode for process in started] == [0, 0], in_short(reports)
    assert {report["release"] for report in reports} == {reports[0]["release"]}
    built = [name for bench in hosts for name in built_by(bench)]
    assert len(built) == len(set(built)), "something was built twice"


def test_a_failure_ends_a_run_through_a_scheduler_as_it_ends_any_other(
    hosts: tuple[Workbench, Workbench], scheduler: str
) -> None:
    bench, _ = hosts
    bench.model("twin", flags="{cpu: [--iree-input-type=stablehlo]}")
    done = bench.run("small", "--scheduler", scheduler, expect=3)
    failed = [name for name, outcome in done.outcomes.items() if outcome == "failed"]
    assert failed == [("compile", "twin/net/f32/cpu")]
    ran = [event for event in events_of(bench) if event["event"] == "started"]
    assert len(ran) == len({event["node"] for event in ran}), "something was tried twice"
    assert done.outcomes[("validate", "tiny/net/f32/cpu")] == "built"
