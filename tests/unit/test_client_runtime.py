"""Which VMFBs are refused because the IREE runtime that is installed cannot load them."""

import sys
from pathlib import Path

import msgspec
import pytest

from tests.unit.shop import Shop, open_shop
from tidemill.client import pull
from tidemill.client.runtime import installed_runtime, unfit
from tidemill.digest import digest_bytes
from tidemill.errors import ToolError
from tidemill.store.layout import release_name

MODULE = "stories/decode/f32/cpu/model.vmfb"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """The head of its channel was made by compiler 3.13.0."""
    shop = open_shop(tmp_path)
    shop.tools = {"iree-base-compiler": "3.13.0"}
    shop.publish()
    return shop


def install(version: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What importlib.metadata sees of an installed runtime."""
    info = site / f"iree_base_runtime-{version}.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: iree-base-runtime\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    monkeypatch.syspath_prepend(site)


@pytest.mark.parametrize(("version", "why"), [("3.12.0", "old"), ("3.9.0rc20250101", "old")])
def test_a_module_that_the_runtime_here_cannot_load_is_refused_by_name_and_version(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, why: str
) -> None:
    install(version, tmp_path / "site", monkeypatch)
    assert installed_runtime() == version
    with pytest.raises(ToolError) as caught:
        pull(shop.store, ["*/*/*/cpu"], to=tmp_path / "out", channel="smoke")
    assert caught.value.message == (
        "minilm/encoder/f16/cpu/model.vmfb and 2 more: made by iree-base-compiler 3.13.0;"
        f" iree-base-runtime {version}, which is installed here, is too {why} to load it"
    )
    assert caught.value.hint.startswith("pip install 'iree-base-runtime==3.13.*', or pull")
    assert not (tmp_path / "out").exists()
    kinds = ["mlir", "irpa"]
    assert (
        len(pull(shop.store, ["*"], to=tmp_path / "out", channel="smoke", kinds=kinds).copied) == 6
    )
    anyway = pull(shop.store, ["stories"], to=tmp_path / "a", channel="smoke", any_runtime=True)
    assert MODULE in [one.file for one in anyway.copied]


def test_a_carried_module_is_judged_by_the_compiler_that_made_it(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = next(number for number, one in enumerate(shop.artifacts) if one.file == MODULE)
    shop.artifacts[at] = msgspec.structs.replace(
        shop.artifacts[at], status="carried", compiler="3.11.0"
    )
    shop.publish()
    install("3.13.0", tmp_path / "site", monkeypatch)
    with pytest.raises(ToolError) as caught:
        pull(shop.store, ["*/*/*/cpu"], to=tmp_path / "out", channel="smoke")
    assert caught.value.message == (
        f"{MODULE}: made by iree-base-compiler 3.11.0; iree-base-runtime 3.13.0, which is"
        " installed here, is too new to load it"
    )
    assert caught.value.hint.startswith("pip install 'iree-base-runtime==3.11.*', or pull")
    assert len(pull(shop.store, ["minilm"], to=tmp_path / "out", channel="smoke").copied) > 0


def test_a_carried_module_whose_compiler_fits_is_pulled_with_an_older_runtime(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = next(number for number, one in enumerate(shop.artifacts) if one.file == MODULE)
    shop.artifacts[at] = msgspec.structs.replace(shop.artifacts[at], compiler="3.12.0")
    shop.publish()
    install("3.12.1", tmp_path / "site", monkeypatch)
    assert len(pull(shop.store, ["stories"], to=tmp_path / "out", channel="smoke").copied) == 5


def test_a_release_of_before_modules_named_their_compiler_is_judged_by_its_tools(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = msgspec.json.decode(shop.store.read(release_name(shop.publish())) or b"")
    for one in written["artifacts"]:
        assert one.pop("compiler") == ""
    data = msgspec.json.encode(written)
    release = digest_bytes(data)
    shop.store.replace(release_name(release), data)
    install("3.12.0", tmp_path / "site", monkeypatch)
    with pytest.raises(ToolError, match=r"made by iree-base-compiler 3\.13\.0; .* is too old"):
        pull(shop.store, ["stories"], to=tmp_path / "out", release=release)
    report = pull(shop.store, ["stories"], to=tmp_path / "out", release=release, any_runtime=True)
    assert report.resolved.digest == release


def test_a_fitting_runtime_and_none_at_all_refuse_nothing(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = [path for path in sys.path if not list(Path(path).glob("iree_base_runtime-*"))]
    monkeypatch.setattr("sys.path", bare)
    assert installed_runtime() is None
    assert len(pull(shop.store, ["stories"], to=tmp_path / "a", channel="smoke").copied) == 5
    install("3.13.1", tmp_path / "site", monkeypatch)
    assert len(pull(shop.store, ["stories"], to=tmp_path / "b", channel="smoke").copied) == 5


@pytest.mark.parametrize(
    ("compiler", "runtime", "why"),
    [
        # As was tried: a matrix multiplication made by each release, run by each.
        ("3.9.0", "3.9.0", ""),
        ("3.9.0", "3.10.0", "new"),
        ("3.9.0", "3.13.0", "new"),
        ("3.10.0", "3.9.0", "old"),
        ("3.10.0", "3.11.0", "new"),
        ("3.11.0", "3.10.0", "old"),
        ("3.11.0", "3.11.0", ""),
        ("3.11.0", "3.12.0", "new"),
        ("3.12.0", "3.11.0", "old"),
        ("3.12.0", "3.13.0", ""),
        # Of what is to come nobody knows more than that older runtimes are not meant for it.
        ("3.13.0", "3.14.0rc20270101", ""),
        ("3.14.0rc20270101", "3.13.0", "old"),
        ("4.0.0", "3.20.0", "old"),
        ("a build of our own", "3.13.0", ""),
        ("3.13.0", "dev", ""),
    ],
)
def test_what_loads_what(compiler: str, runtime: str, why: str) -> None:
    assert unfit(runtime, compiler=compiler) == why
