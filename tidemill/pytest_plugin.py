"""pytest fixtures that hand a test the released artifacts of an address.

::

    @pytest.mark.tidemill("minilm/encoder/f32/cpu")
    def test_it_runs(tidemill_artifacts): ...

Where they come from is said in the ini file or on the command line (``tidemill_store``,
``tidemill_channel`` or ``tidemill_lock``, …). All tests of a run see one release, whatever becomes
of the channel meanwhile, and whichever worker they run in. Nothing is loaded before it is used.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from tidemill.client.suite import Handed, Suite
    from tidemill.errors import TidemillError

_OPTIONS = {
    "store": "where artifacts come from: a folder or a URL [TIDEMILL_STORE, or the lock's]",
    "channel": "the channel whose release is tested",
    "lock": "a lock file instead of a channel: its release, and no other files",
    "missing": "what becomes of a test whose address the release lacks: fail or skip [fail]",
}
_POLICIES = ("fail", "skip")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--tidemill-store`` …, and the same as ``tidemill_store`` … in the ini file."""
    group = parser.getgroup("tidemill", "artifacts of a tidemill channel")
    for name, about in _OPTIONS.items():
        parser.addini(f"tidemill_{name}", about, default="")
        group.addoption(f"--tidemill-{name}", default="", help=about)
    group.addoption(
        "--tidemill-offline", action="store_true", help="ask no store: use what the cache has"
    )
    parser.addini(
        "tidemill_any_runtime",
        "hand out VMFBs, too, that the installed IREE runtime cannot load",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and refuse a policy that is none."""
    config.addinivalue_line(
        "markers",
        "tidemill(address): what the fixture tidemill_artifacts hands to this test,"
        " as model/component/variant/target",
    )
    policy, _ = _option(config, "missing")
    if policy and policy not in _POLICIES:
        raise pytest.UsageError(f"tidemill_missing is {policy!r}; it must be fail or skip")


@pytest.fixture(scope="session")
def tidemill_get(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Callable[[str], Handed]]":
    """Address → its artifacts; for tests that need several, or compute what they need."""
    from tidemill.errors import TidemillError  # noqa: PLC0415 - nothing before it is used

    opened: list[Suite] = []
    failed: list[TidemillError] = []

    def suite() -> "Suite":
        if failed:  # a store that is down is waited for once, not for every test
            raise failed[0]
        if not opened:
            try:
                opened.append(_open(request.config, tmp_path_factory))
            except TidemillError as error:
                failed.append(error)
                raise
        return opened[0]

    def get(address: str) -> "Handed":
        try:
            return suite().artifacts(address)
        except TidemillError as error:
            _refuse(error, request.config)

    yield get
    for one in opened:
        one.close()


@pytest.fixture
def tidemill_artifacts(
    request: pytest.FixtureRequest, tidemill_get: "Callable[[str], Handed]"
) -> "Handed":
    """The artifacts of the address in the test's marker (see ``tidemill.client.suite.Handed``)."""
    marker = request.node.get_closest_marker("tidemill")
    if marker is None or len(marker.args) != 1 or marker.kwargs:
        pytest.fail(
            "tidemill_artifacts needs one address: @pytest.mark.tidemill("
            "'model/component/variant/target')",
            pytrace=False,
        )
    return tidemill_get(marker.args[0])


def _refuse(error: "TidemillError", config: pytest.Config) -> NoReturn:
    from tidemill.client.suite import Lacking  # noqa: PLC0415

    words = f"{error.message} ({error.hint})" if error.hint else error.message
    if isinstance(error, Lacking) and _option(config, "missing")[0] == "skip":
        pytest.skip(words)
    pytest.fail(words, pytrace=False)


def _option(config: pytest.Config, name: str) -> tuple[str, Path]:
    """The value of an option, and the folder that a path in it starts from."""
    if typed := str(config.getoption(f"tidemill_{name}")):
        return typed, config.invocation_params.dir
    return str(config.getini(f"tidemill_{name}")), config.rootpath


def _open(config: pytest.Config, temporary: pytest.TempPathFactory) -> "Suite":
    from tidemill.client.open_suite import open_suite  # noqa: PLC0415

    store, store_start = _option(config, "store")
    if store and "://" not in store:
        store = str(store_start / Path(store).expanduser())
    file, file_start = _option(config, "lock")
    agreement = None
    if hasattr(config, "workerinput"):  # pytest-xdist: the folder above is that of the whole run
        agreement = temporary.getbasetemp().parent / "tidemill-release.json"
    return open_suite(
        store=store,
        channel=_option(config, "channel")[0],
        lock_file=file_start / file if file else None,
        offline=bool(config.getoption("tidemill_offline")),
        any_runtime=bool(config.getini("tidemill_any_runtime")),
        scratch=temporary.getbasetemp() / "tidemill-cache",
        agreement=agreement,
        said=logging.getLogger("tidemill").warning,
    )
