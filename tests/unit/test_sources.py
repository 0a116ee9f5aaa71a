"""What a source's text means, and what the fetch step does with files of a folder."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fetching import DIGEST_HINT, arrived, declared, failure, fetch, sha256, unlike
from tidemill.errors import FailureClass, WorkError
from tidemill.report.text import shown_lines
from tidemill.sources import Source, parse_source
from tidemill.sources.landing import is_inner_path
from tidemill.steps.work.fetch import full_disk_named
from tidemill.steps.work.protocol import Made

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pypi:six==1.17.0", Source(scheme="pypi", name="six", version="1.17.0", text="")),
        ("npm:is-number@7.0.0", Source(scheme="npm", name="is-number", version="7.0.0", text="")),
        ("npm:@a/b@1.0.0-rc.1", Source(scheme="npm", name="@a/b", version="1.0.0-rc.1", text="")),
        (f"hf:org/m.x@{COMMIT}", Source(scheme="hf", name="org/m.x", version=COMMIT, text="")),
        ("file:../models/a b", Source(scheme="file", name="../models/a b", text="")),
        ("synthetic:seed=7", Source(scheme="synthetic", name="seed=7", seed=7, text="")),
    ],
)
def test_every_scheme_is_read(text: str, source: Source) -> None:
    read = parse_source(text)
    assert (read.scheme, read.name, read.version) == (source.scheme, source.name, source.version)
    assert read.seed == source.seed
    assert read.text == text
    assert f"{read.scheme}:{read.label}" == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "hf:org/name@main",
            "hf:org/name@main: revision must be a commit sha of 40 hex digits, "
            "so that the bytes cannot change",
        ),
        (
            "hf:org/name",
            "hf:org/name: revision must be a commit sha of 40 hex digits, "
            "so that the bytes cannot change",
        ),
        (
            f"hf:a/b/c@{COMMIT}",
            f"hf:a/b/c@{COMMIT}: not the name of a repository; expected hf:org/name@<commit sha>",
        ),
        ("pypi:six", "pypi:six: the version is missing; expected pypi:name==version"),
        ("pypi:six==1.*", "pypi:six==1.*: not one exact version; expected pypi:name==version"),
        ("pypi:-r==1", "pypi:-r==1: not the name of a package; expected pypi:name==version"),
        ("npm:@a/b", "npm:@a/b: the version is missing; expected npm:name@version"),
        ("npm:a@latest", "npm:a@latest: not one exact version; expected npm:name@version"),
        ("npm:a@^1.0.0", "npm:a@^1.0.0: not one exact version; expected npm:name@version"),
        ("npm:--x@1.0.0", "npm:--x@1.0.0: not the name of a package; expected npm:name@version"),
        ("file:", "file:: the folder is missing; expected file:folder"),
        (
            "synthetic:seed=-1",
            "synthetic:seed=-1: the seed must be a whole number of at most 18 digits; "
            "expected synthetic:seed=7",
        ),
        (
            "https://x/y",
            "https://x/y: unknown scheme; known ones are pypi:, npm:, hf:, file:, synthetic:",
        ),
        ("six", "six: unknown scheme; known ones are pypi:, npm:, hf:, file:, synthetic:"),
    ],
)
def test_a_source_that_is_not_pinned_says_what_is_missing(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_source(text)
    assert str(caught.value) == message


@given(st.text())
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        assert parse_source(text).text == text
    except ValueError as error:
        assert str(error).startswith(f"{text}: ")  # noqa: PT017  both ways are right


@given(st.text(alphabet="a./\\\0"))
def test_an_inner_path_stays_inside_its_folder(path: str) -> None:
    if is_inner_path(path):
        inside = os.path.normpath(f"/folder/{path}")
        assert inside == f"/folder/{path}"
        assert inside != "/folder"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model; the current folder is an empty work folder beside it."""
    folder, work = tmp_path / "model", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "config.json").write_bytes(b'{"a": 1}')
    monkeypatch.chdir(work)
    return folder


def test_files_of_a_folder_arrive_under_their_names(model: Path) -> None:
    files = {
        "config.json": {"path": "config.json", "sha256": sha256(b'{"a": 1}')},
        "sub/copy.json": {"path": "config.json", "sha256": sha256(b'{"a": 1}')},
    }
    response = fetch("file:model", files, base=str(model.parent))
    assert arrived() == {"config.json": b'{"a": 1}', "sub/copy.json": b'{"a": 1}'}
    assert response.made == (
        Made(name="config.json", kind="source"),
        Made(name="sub/copy.json", kind="source"),
    )
    assert response.facts == {"bytes": 16, "package": "model"}


def test_one_wrong_digest_leaves_nothing(model: Path) -> None:
    (model / "z.json").write_bytes(b"{}")
    files = declared({"config.json": b'{"a": 1}', "z.json": b"[]"})
    error = failure(f"file:{model}", files)
    assert error.message == unlike("file z.json", sha256(b"[]"), sha256(b"{}"))
    # A terminal of 80 columns shows the digest, which people copy, whole.
    assert shown_lines(tuple(error.message.splitlines()), count=4, width=78)[2].endswith(
        sha256(b"{}")
    )
    assert error.failure is FailureClass.FETCH
    assert error.hint == DIGEST_HINT


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "a/../config.json", "./x", "a//b"])
def test_a_path_that_is_not_inside_is_refused(model: Path, path: str) -> None:
    error = failure(f"file:{model}", {"x": {"path": path, "sha256": sha256(b"")}})
    assert error.message == (f"file x: {path!r} leaves its folder or is not a plain path")


def test_a_name_that_leaves_out_is_refused(model: Path) -> None:
    files = {"../x": {"path": "config.json", "sha256": sha256(b'{"a": 1}')}}
    error = failure(f"file:{model}", files)
    assert error.message == ("file ../x: '../x' leaves its folder or is not a plain path")


def test_a_link_inside_is_followed_and_a_link_outside_is_refused(model: Path) -> None:
    (model.parent / "secret").write_bytes(b"secret")
    (model / "inside").symlink_to("config.json")
    (model / "outside").symlink_to("../secret")
    (model / "loop").symlink_to("loop")
    inside = {"x": {"path": "inside", "sha256": sha256(b'{"a": 1}')}}
    for bad in ("outside", "loop"):
        error = failure(f"file:{model}", {"x": {"path": bad, "sha256": sha256(b"secret")}})
        assert error.message == (f"file x: {bad} is a link that leaves file:{model}")
        Path("landing").rmdir()
    fetch(f"file:{model}", inside)
    assert arrived() == {"x": b'{"a": 1}'}


def test_an_absent_file_and_an_absent_folder_are_told_apart(model: Path) -> None:
    files = declared({"weights": b""})
    assert failure(f"file:{model}", files).message == (
        f"file weights: there is no file weights in file:{model}"
    )
    Path("landing").rmdir()
    assert failure("file:gone", files, base=str(model)).message == (
        "file:gone: there is no such folder"
    )


def test_a_pipe_is_not_a_file(model: Path) -> None:
    os.mkfifo(model / "pipe")
    assert failure(f"file:{model}", declared({"pipe": b""})).message == (
        f"file pipe: there is no file pipe in file:{model}"
    )


def test_nothing_declared_is_an_error(model: Path) -> None:
    assert failure(f"file:{model}", {}).message == "no files are declared"


def test_synthetic_weights_are_not_fetched(model: Path) -> None:
    error = failure("synthetic:seed=7", declared({"x": b""}))
    assert error.message == "synthetic:seed=7: there is nothing to fetch"


def test_a_full_disk_is_infrastructure() -> None:
    # /dev/full is the kernel's own full disk: writing to it fails with ENOSPC.
    with pytest.raises(WorkError) as caught, full_disk_named():
        Path("/dev/full").write_bytes(b"x")
    assert caught.value.message == ("the disk is full: [Errno 28] No space left on device")
    assert caught.value.failure is FailureClass.INFRASTRUCTURE
    with pytest.raises(FileNotFoundError), full_disk_named():
        Path("/dev/nowhere").read_bytes()
