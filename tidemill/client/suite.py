"""Hands a test suite the artifacts of one address at a time, all of one release.

The files are links to the cache where the file system has links: they are not to be written to, and
nothing that is evicted meanwhile takes them away. They are there until the suite is closed.
"""

import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tidemill.address import Address
from tidemill.client.cache import Cache
from tidemill.client.choose import Choice, Resolved, choose
from tidemill.client.fetch import Fetcher
from tidemill.client.folder import safe_path
from tidemill.client.lock import Lock, choose_locked
from tidemill.client.parallel import Stop, run_all
from tidemill.client.runtime import check_runtime
from tidemill.client.samples import INDEX, Sample, read_samples
from tidemill.errors import ToolError, UsageError
from tidemill.processors import at_once
from tidemill.records import Artifact
from tidemill.store.contract import Store
from tidemill.store.scratch import leftovers, temporary_name
from tidemill.store.trouble import disk_error

_JOBS = at_once(4)


class Lacking(ToolError):  # noqa: N818 - it says what is so, as BlobMissing does
    """The release has no such address, or no bytes for it; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What the release has of one address. A path is None where the address has no such file.

    ``status``, ``reason`` and ``verdict`` are those of the VMFB, or of the MLIR for an address
    without a target. ``verdict`` is what validation measured, None when nothing was validated.
    """

    address: str
    status: str
    reason: str
    vmfb: Path | None
    mlir: Path | None
    irpa: Path | None
    config: Path | None = None
    tokenizer: Path | None = None
    verdict: dict[str, Any] | None
    samples: tuple[Sample, ...]

    @property
    def parameters(self) -> dict[str, Path]:
        """Scope → archive, as ``iree-run-module --parameters=SCOPE=FILE`` wants them."""
        return {self.irpa.stem: self.irpa} if self.irpa else {}

    @property
    def sample(self) -> Sample:
        """The one sample of the reference. Raises UsageError when there are none or several."""
        if len(self.samples) != 1:
            names = ", ".join(sample.name for sample in self.samples)
            raise UsageError(
                f"the reference of {self.address} has {len(self.samples)} samples"
                + (f": {names}" if names else ""),
                hint="take them from .samples",
            )
        return self.samples[0]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The inputs of the one sample: a Tensor each."""
        return self.sample.inputs

    @property
    def expected(self) -> tuple[Any, ...]:
        """The expected outputs of the one sample: a Tensor each."""
        return self.sample.expected


@dataclass(slots=True, kw_only=True)
class Suite:
    """The artifacts of ``resolved``; with ``lock`` only those that it names."""

    store: Store
    resolved: Resolved
    cache: Cache
    lock: Lock | None = None
    offline: bool = False
    any_runtime: bool = False
    _handed: dict[str, Handed] = field(default_factory=dict)
    _folder: Path | None = None

    def artifacts(self, address: str) -> Handed:
        """The files of one address, verified.

        Raises Lacking, UsageError for what is no address, ToolError for a VMFB that the installed
        runtime cannot load, and StoreError for trouble.
        """
        if address not in self._handed:
            self._handed[address] = self._hand(address)
        return self._handed[address]

    def close(self) -> None:
        """Take the files away."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._handed.clear()

    def _hand(self, address: str) -> Handed:
        parsed = Address.parse(address)
        if not parsed.variant:
            raise UsageError(
                f"{address!r} is the address of no artifact",
                hint="write model/component/variant/target, without globs",
            )
        choice = self._choice(address)
        wanted = [one for one in choice.wanted if parsed.target or one.address == address]
        lost = [one for one in choice.refused if parsed.target or one.address == address]
        if lost or not wanted:
            raise Lacking(f"{self.resolved.title} lacks {address}: {_reasons(lost)}")
        if not self.any_runtime:
            check_runtime(self.resolved.release, wanted)
        return self._placed(address, wanted)

    def _choice(self, address: str) -> Choice:
        try:
            if self.lock is None:
                return choose(self.resolved, [address])
            return choose_locked(
                self.lock, self.resolved, patterns=[address], kinds=(), require_validated=False
            )
        except (UsageError, ToolError) as error:
            raise Lacking(error.message, hint=error.hint) from error

    def _placed(self, address: str, wanted: list[Artifact]) -> Handed:
        fetcher = Fetcher(self.store, cache=self.cache, offline=self.offline)
        fetcher.check_offline(wanted)
        try:
            folder = self._own_folder()
            places = {folder / safe_path(one, self.resolved): one for one in wanted}
            for path in places:
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, doing="link artifacts", where=self.cache.root) from error
        lacking = [(path, one) for path, one in places.items() if not path.exists()]
        work = [partial(fetcher.link, one, path) for path, one in lacking]
        run_all(work, threads=_JOBS, stop=Stop())
        return _handed_of(address, places)

    def _own_folder(self) -> Path:
        if self._folder is None:
            sessions = self.cache.root / "sessions"
            for left in leftovers(sessions):
                shutil.rmtree(left, ignore_errors=True)
            self._folder = sessions / temporary_name()
            self._folder.mkdir(parents=True)
        return self._folder


def _handed_of(address: str, places: dict[Path, Artifact]) -> Handed:
    by_kind: dict[str, Path] = {}
    samples: tuple[Sample, ...] = ()
    for path, one in places.items():
        by_kind.setdefault(one.kind, path)
        if one.kind == "reference" and path.name == INDEX:
            samples = read_samples(path.parent)
    order = ("vmfb", "mlir")
    told = min(places.values(), key=lambda one: (one.kind not in order, one.kind != order[0]))
    return Handed(
        address=address,
        status=told.status,
        reason=told.reason,
        vmfb=by_kind.get("vmfb"),
        mlir=by_kind.get("mlir"),
        irpa=by_kind.get("irpa"),
        config=by_kind.get("config"),
        tokenizer=by_kind.get("tokenizer"),
        verdict=told.verdict,
        samples=samples,
    )


def _reasons(lost: list[Artifact]) -> str:
    said = (f"{one.kind} is {one.status}" + f" ({one.reason})" * bool(one.reason) for one in lost)
    return "; ".join(said) or "it has targets, and nothing that they share"
