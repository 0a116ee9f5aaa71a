"""Writes the modules and tests of a release into a folder whose files are there already.

How a module was made is read from records (``made_by``), thresholds follow from verdicts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.client import suite_json as form
from tidemill.client.choose import Resolved
from tidemill.client.copying import copy_to
from tidemill.client.fetch import Fetcher
from tidemill.client.made_by import Judged, Records, read_verdict
from tidemill.client.npy import is_plain, rewrite
from tidemill.client.runtime import numbers_of
from tidemill.client.samples import INDEX, Sample, Tensor, read_samples
from tidemill.errors import StoreError, UsageError
from tidemill.records import COMPILER, Artifact
from tidemill.store.contract import Store
from tidemill.store.scratch import temporary_name

#: The first release whose tools compare bf16 with a tolerance, and take a relative one as well.
_TOLERANT = (3, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One module that was written, its tests below DIR/tests, and what they cannot say."""

    address: str
    status: str
    tests: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    """What the targets of a variant share. ``samples`` is None where there is no reference.

    ``check`` is the verdict that counts: of the target itself or, since neither what a contract
    allows nor what a program is called depends on the target, of another one.
    """

    files: Mapping[str, str]
    samples: tuple[Sample, ...] | None
    check: Artifact | None


@dataclass(slots=True)
class Writer:
    """Writes one export into the folder ``stage``, whose ``files`` are there."""

    stage: Path
    files: Path
    resolved: Resolved
    base_url: str = field(kw_only=True)
    fetcher: Fetcher = field(kw_only=True)
    _records: Records = field(default_factory=lambda: Records(""))
    _place: form.Place = field(default_factory=form.Place)

    def write(self, copied: Sequence[Artifact], reader: Store) -> tuple[Exported, ...]:
        """Write all modules and tests. Raises as ``export`` does."""
        compiled = [one for one in copied if one.kind == "vmfb"]
        if not compiled:
            raise UsageError(
                f"{self.resolved.title} gives no VMFB for what is asked for",
                hint="give addresses with a target, as 'model/component/*/cpu'",
            )
        variants = {_shared(one) for one in compiled}
        checks = [
            one
            for one in self.resolved.release.artifacts
            if one.kind == "verdict" and one.digest and _shared(one) in variants
        ]
        self._records = Records.read(reader, [*compiled, *checks])
        return tuple(self._write_one(one, self._variant(one, copied, checks)) for one in compiled)

    def _variant(
        self, one: Artifact, copied: Sequence[Artifact], checks: Sequence[Artifact], /
    ) -> _Variant:
        shared = [each for each in copied if each.address == _shared(one)]
        reference = {Path(each.file).name: each for each in shared if each.kind == "reference"}
        digests = {name: each.digest for name, each in reference.items()}
        near = [each for each in checks if _shared(each) == _shared(one)]
        near.sort(key=lambda each: each.address != one.address)
        index = reference.get(INDEX)
        return _Variant(
            files={each.kind: each.file for each in shared},
            samples=read_samples((self.files / index.file).parent) if index else None,
            check=next((each for each in near if self._records.judges(each, digests)), None),
        )

    def _write_one(self, one: Artifact, variant: _Variant) -> Exported:
        # The tools that run a module are of the release of IREE that made it, or newer.
        compiler = one.compiler or self.resolved.release.tools.get(COMPILER, "")
        tolerant = numbers_of(compiler) >= _TOLERANT
        self._place = form.Place(base_url=self.base_url, tolerant=tolerant)
        program = self._program(one, variant)
        self._write_module(one, program)
        notes: list[str] = []
        tests = dict(self._tests(program, variant, notes))
        for name, test in tests.items():
            self._json(self.stage / "tests" / one.address / name, test)
        return Exported(
            address=one.address,
            status=one.status,
            tests=tuple(f"{one.address}/{name}" for name in tests),
            notes=tuple(notes),
        )

    def _program(self, one: Artifact, variant: _Variant) -> form.Program:
        record = self._records.of(one)
        flags = tuple(record.parts["fields"]["flags"])
        fields = self._records.fields(variant.check) if variant.check else {}
        own = variant.check is not None and variant.check.address == one.address
        # What was compiled again under the same key may be other bytes, with other counts.
        same = any(output.digest == one.digest for output in record.outputs)
        return form.Program(
            address=one.address,
            flags=flags,
            device=str(fields["device"]) if own else form.driver_of(flags),
            function=str(fields.get("function", "")),
            mlir=variant.files.get("mlir", ""),
            irpa=variant.files.get("irpa", ""),
            size=one.size,
            dispatches=record.facts.get("dispatch_count") if same else None,
            executables=record.facts.get("executable_count") if same else None,
        )

    def _write_module(self, one: Artifact, program: form.Program) -> None:
        definition = form.module_json(program, self._place)
        self._json(self.stage / f"modules/{program.address}.json", definition)
        folder = self.stage / "artifacts/modules" / program.module
        self._json(folder / "compilation_info.json", form.compilation_info(program))
        with (self.files / one.file).open("rb") as stream:
            copy_to(stream, folder / "module.vmfb")

    def _tests(
        self, program: form.Program, variant: _Variant, notes: list[str], /
    ) -> Iterator[tuple[str, form.Json]]:
        yield "compstat.json", form.compstat_json(program, self._place)
        lacking = _lacking(program, variant, self._driver(variant))
        if variant.samples is None or variant.check is None or lacking:
            notes.append(f"no quality test and no benchmark: {lacking}")
            return
        verdict = self._verdict(variant.check)
        for number, sample in enumerate(variant.samples):
            inputs = [self._below(tensor.path) for tensor in sample.inputs]
            if not number:
                yield "benchmark.json", form.benchmark_json(program, inputs, self._place)
            expected = [self._expected(sample, one, verdict, notes) for one in sample.expected]
            tests = form.quality_jsons(program, inputs, expected, self._place)
            for turn, test in enumerate(tests, 1):
                last = f"-{turn}" if len(tests) > 1 else ""
                yield f"quality-{sample.name}{last}.json", test

    def _driver(self, variant: _Variant) -> str:
        """Which driver calls the variant's functions; "" for the one call of most programs."""
        fields = self._records.fields(variant.check) if variant.check else {}
        return str(fields.get("driver", ""))

    def _verdict(self, check: Artifact) -> Mapping[tuple[str, str], Judged]:
        path = self.stage / temporary_name()
        self.fetcher.copy(check, [path])
        try:
            return read_verdict(path, check)
        finally:
            path.unlink()

    def _expected(
        self,
        sample: Sample,
        tensor: Tensor,
        verdict: Mapping[tuple[str, str], Judged],
        notes: list[str],
        /,
    ) -> form.Expected | None:
        judged = verdict.get((sample.name, tensor.name))
        why = form.incomparable(judged, self._place)
        if judged is None or why:
            notes.append(f"sample {sample.name}: output {tensor.name} is not compared: {why}")
            return None
        is_float = judged.dtype in form.FLOATS
        rounded = is_float and tensor.dtype != judged.dtype
        path = tensor.path
        if rounded or not is_plain(path):
            path = self._rewritten(tensor, judged.dtype)
        sizes = "".join(f"{size}x" for size in tensor.shape)
        return form.Expected(
            file=self._below(path),
            dtype=judged.dtype,
            tolerance=form.tolerance(judged, rounded=rounded) if is_float else None,
            form="" if path.suffix == ".npy" else f"{sizes}{judged.dtype}",
        )

    def _rewritten(self, tensor: Tensor, dtype: str) -> Path:
        target = tensor.path.with_suffix(f".{dtype}.bin" if dtype == "bf16" else f".{dtype}.npy")
        if not target.exists():  # another target's tests have it, too
            rewrite(tensor.path, target, dtype=dtype)
        return target

    def _below(self, path: Path) -> str:
        return path.relative_to(self.files).as_posix()

    def _json(self, path: Path, value: form.Json) -> None:
        if not path.resolve().is_relative_to(self.stage.resolve()):
            raise StoreError(
                f"{self.resolved.title} names the file {path.name!r}, which may not be written",
                hint="do not use this release; tell those who made it",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _lacking(program: form.Program, variant: _Variant, driver: str, /) -> str:
    if variant.samples is None:
        return "the release has no reference for it"
    if variant.check is None:
        return "nothing of its variant was validated with this reference"
    if driver:
        return f"its samples are several calls (driver {driver}), and the suite makes one"
    return "" if program.device else "its compile flags name no device"


def _shared(one: Artifact) -> str:
    return one.address.rpartition("/")[0]
