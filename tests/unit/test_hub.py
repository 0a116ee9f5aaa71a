"""``hf:`` by the real huggingface_hub, against a server on loopback that speaks the protocol."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fetching import DIGEST_HINT, HASTY, arrived, declared, failure, fetch, sha256, unlike
from tests.hub_server import Answer, Cut, Hub, running_hub
from tidemill.errors import FailureClass
from tidemill.steps.work.protocol import Request, Response, read_response

REPO, COMMIT = "org/model", "0123456789abcdef0123456789abcdef01234567"
SOURCE = f"hf:{REPO}@{COMMIT}"
MAIN = Path(__file__).parents[2] / "tidemill/steps/work/main.py"
CONFIG = b'{"size": 3}'
# More than the ten megabytes that huggingface_hub reads at once: it resumes at whole pieces.
WEIGHTS = random.Random(7).randbytes(12_000_000)
PIECE = 10 * 1024 * 1024
FILES = {"config.json": CONFIG, "weights.data": WEIGHTS}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one repository; the current folder is an empty work folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        running.add(REPO, COMMIT, FILES)
        running.linked.add("weights.data")
        yield running


def token_at_home(folder: Path) -> Path:
    """Where a login on this machine would have left a token."""
    token = folder / "home/.cache/huggingface/token"
    token.parent.mkdir(parents=True)
    token.write_text("of somebody")
    return token


def config() -> dict[str, dict[str, str]]:
    return declared({"config.json": CONFIG})


def weights() -> dict[str, dict[str, str]]:
    return declared({"weights.data": WEIGHTS})


def test_plain_and_redirected_files_arrive(hub: Hub) -> None:
    response = fetch(SOURCE, declared(FILES))
    assert arrived() == FILES
    assert response.facts == {
        "bytes": len(CONFIG) + len(WEIGHTS),
        "package": f"{REPO}@{COMMIT}",
    }
    assert [seen.server for seen in hub.requests("GET", "weights.data")] == ["cdn"]


def test_a_file_of_a_subfolder_arrives_under_its_name(hub: Hub) -> None:
    hub.add(REPO, COMMIT, {"unet/config.json": b"{}"})
    fetch(SOURCE, {"unet.json": {"path": "unet/config.json", "sha256": sha256(b"{}")}})
    assert arrived() == {"unet.json": b"{}"}


def test_the_token_goes_to_the_hub_and_not_to_the_other_host(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gate(REPO, tokens={"good"})
    monkeypatch.setenv("HF_TOKEN", "good")
    fetch(SOURCE, declared(FILES))
    assert {(seen.server, seen.authorization) for seen in hub.seen} == {
        ("hub", "Bearer good"),
        ("cdn", ""),
    }


def test_nothing_lies_outside_the_work_folder(hub: Hub, tmp_path: Path) -> None:
    fetch(SOURCE, config())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]
    assert sorted(path.name for path in Path().iterdir()) == ["hub", "landing", "out"]


def test_wrong_bytes_are_refused_and_not_asked_for_again(hub: Hub) -> None:
    other = b'{"size": 4}'
    hub.script("GET", "config.json", Answer(status=200, body=other))
    error = failure(SOURCE, config())
    assert error.message == unlike("file config.json", sha256(CONFIG), sha256(other))
    assert (error.failure, error.hint) == (FailureClass.FETCH, DIGEST_HINT)
    assert len(hub.requests("GET", "config.json")) == 1


def test_a_cut_connection_is_resumed_where_it_broke(hub: Hub) -> None:
    hub.script("GET", "weights.data", Cut(after=11_000_000))
    fetch(SOURCE, weights())
    assert arrived() == {"weights.data": WEIGHTS}
    assert [seen.range for seen in hub.requests("GET", "weights.data")] == [
        "",
        f"bytes={PIECE}-",
    ]


def test_a_reset_connection_is_tried_again(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.script("GET", "weights.data", Cut(after=11_000_000, reset=True))
    fetch(SOURCE, weights())
    assert arrived() == {"weights.data": WEIGHTS}
    assert "attempt 1 of 3 failed, waiting 0.0 s" in capsys.readouterr().out


def test_an_anonymous_request_for_a_gated_repository_says_what_to_set(hub: Hub) -> None:
    hub.gate(REPO, tokens={"good"})
    error = failure(SOURCE, config())
    assert error.message == "org/model is gated, and HF_TOKEN is not set"
    assert error.hint == (
        "request access on the page of org/model, then set HF_TOKEN to a token of that account"
    )
    assert error.failure is FailureClass.FETCH
    assert len(hub.seen) == 1


def test_a_token_without_access_says_who_must_ask(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gate(REPO, tokens={"good"})
    monkeypatch.setenv("HF_TOKEN", "secret")
    error = failure(SOURCE, config())
    assert error.message == (
        "org/model is gated, and the owner of the token in HF_TOKEN has no access to it"
    )
    assert error.hint == (
        "the owner of the token must request access on the page of org/model and wait until "
        "it is granted; or set HF_TOKEN to a token of somebody who has it"
    )
    assert "secret" not in error.message + error.hint


@pytest.mark.parametrize(
    ("token", "status", "message"),
    [
        ("", 401, "org/model may not be read with an anonymous request: the server answered 401"),
        ("x", 401, "org/model may not be read with the token in HF_TOKEN: the server answered 401"),
        ("x", 403, "org/model may not be read with the token in HF_TOKEN: the server answered 403"),
    ],
)
def test_a_refused_token_is_a_fetch_failure(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str, status: int, message: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.script("HEAD", "config.json", Answer(status=status))
    error = failure(SOURCE, config())
    assert error.message == f"{message}"
    assert error.failure is FailureClass.FETCH


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        (
            f"hf:org/gone@{COMMIT}",
            "config.json",
            "there is no repository org/gone, or it is private",
        ),
        (f"hf:{REPO}@{'f' * 40}", "config.json", f"org/model has no revision {'f' * 40}"),
        (SOURCE, "gone.json", f"{SOURCE} has no file gone.json"),
    ],
)
def test_what_is_absent_is_told_apart(hub: Hub, source: str, path: str, message: str) -> None:
    error = failure(source, {"x": {"path": path, "sha256": sha256(CONFIG)}})
    assert error.message == f"{message}"
    assert error.failure is FailureClass.FETCH
    assert len(hub.seen) == 1


def test_a_busy_server_is_obeyed_and_then_asked_again(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.script("HEAD", "config.json", Answer(status=429, headers={"Retry-After": "1"}))
    fetch(SOURCE, config())
    assert arrived() == {"config.json": CONFIG}
    assert (
        f"{SOURCE}: file config.json: the server answered 429; "
        "attempt 1 of 3 failed, waiting 1.0 s\n"
    ) in capsys.readouterr().out


def test_a_server_that_asks_for_too_long_is_given_up_at_once(hub: Hub) -> None:
    hub.script("HEAD", "config.json", Answer(status=429, headers={"Retry-After": "3600"}))
    error = failure(SOURCE, config())
    assert error.message == (
        f"{SOURCE}: file config.json: gave up after 1 attempts: "
        "the server answered 429; the server asks to wait 3600 s"
    )
    assert error.failure is FailureClass.INFRASTRUCTURE


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_broken_server_is_asked_again(hub: Hub, method: str) -> None:
    hub.script(method, "config.json", Answer(status=500), Answer(status=502))
    fetch(SOURCE, config())
    assert arrived() == {"config.json": CONFIG}


def test_a_server_that_stays_broken_is_infrastructure(hub: Hub) -> None:
    hub.script("GET", "config.json", Answer(status=503), forever=True)
    error = failure(SOURCE, config())
    assert error.message == (
        f"{SOURCE}: file config.json: gave up after 3 attempts: the server answered 503"
    )
    assert error.failure is FailureClass.INFRASTRUCTURE
    assert len(hub.requests("GET", "config.json")) == HASTY.attempts


def test_a_server_that_is_away_is_infrastructure(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = failure(SOURCE, config())
    assert error.message == (
        f"{SOURCE}: file config.json: gave up after 3 attempts: "
        "ConnectError: [Errno 111] Connection refused"
    )
    assert error.failure is FailureClass.INFRASTRUCTURE


def test_a_server_that_is_no_hub_is_named(hub: Hub) -> None:
    hub.script("HEAD", "config.json", Answer(status=200, body=b"<html>"))
    error = failure(SOURCE, config())
    assert error.message == f"{SOURCE}: the server answers with no commit"
    assert error.hint == "check HF_ENDPOINT: it must be a server that speaks the hub's protocol"


def test_a_child_takes_plain_http_and_neither_reads_nor_writes_at_home(
    hub: Hub, tmp_path: Path
) -> None:
    # In a process of its own, because huggingface_hub reads its settings when it is imported.
    hub.headers["X-Xet-Hash"] = "a" * 64
    hub.headers["X-Xet-Refresh-Route"] = "/api/models/org/model/xet-read-token/main"
    token = token_at_home(tmp_path)
    request = Request(step="fetch", fields={"from": SOURCE, "files": declared(FILES)})
    Path("request.json").write_text(request.to_json())
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_HUB_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-P", str(MAIN)],
        env={**clean, "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"fetching 2 files of {SOURCE}",
        "config.json: fetching 11 bytes of config.json",
        f"config.json: 11 bytes, sha256 {sha256(CONFIG)}",
        "weights.data: fetching 12000000 bytes of weights.data",
        f"weights.data: 12000000 bytes, sha256 {sha256(WEIGHTS)}",
        "fetched 12000011 bytes",
    ]
    response = read_response(Path())
    assert isinstance(response, Response)
    assert response.facts == {"bytes": 12000011, "package": f"{REPO}@{COMMIT}"}
    assert arrived() == FILES
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == [token]
    assert {seen.authorization for seen in hub.seen} == {""}
    assert [(seen.server, seen.method) for seen in hub.seen if seen.path == "weights.data"] == [
        ("hub", "HEAD"),
        ("hub", "HEAD"),
        ("hub", "GET"),
        ("cdn", "GET"),
    ]
    assert {seen.path for seen in hub.seen} == set(FILES)


def test_the_server_lists_a_commit_as_the_hub_does(hub: Hub) -> None:
    from huggingface_hub import HfApi

    about = HfApi(endpoint=hub.url, token=False).model_info(REPO, revision=COMMIT)
    assert about.sha == COMMIT
    assert sorted(file.rfilename for file in about.siblings) == sorted(FILES)
    assert json.loads(CONFIG) == {"size": 3}


def test_a_file_without_a_declared_digest_has_the_one_that_the_server_names(hub: Hub) -> None:
    fetch(SOURCE, {"weights.data": {"path": "weights.data", "sha256": ""}})
    assert arrived() == {"weights.data": WEIGHTS}


def test_bytes_that_are_not_what_the_server_names_are_refused(hub: Hub) -> None:
    wrong = Answer(status=200, body=bytes(len(WEIGHTS)))
    hub.script("GET", "weights.data", *[wrong] * 20)
    error = failure(SOURCE, {"weights.data": {"path": "weights.data", "sha256": ""}})
    assert f"expected {sha256(WEIGHTS)}\n" in error.message
    assert arrived() == {}


def test_a_small_file_needs_a_declared_digest(hub: Hub) -> None:
    error = failure(SOURCE, {"config.json": {"path": "config.json", "sha256": ""}})
    assert "the server does not say its sha256" in error.message
    assert "declare the file with its sha256" in error.hint
