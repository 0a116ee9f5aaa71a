"""Working half of ``reference``: inputs, expected outputs and torch's own noise, once per variant.

Files: ``<sample>.input<i>.npy`` in the element type that the artifact takes (bf16: see ``dtypes``;
``iree-run-module --input=@file`` reads all of them), ``<sample>.expected<i>.npy`` in the precision
of the reference (float64 or float32; integers as they are, NaN and infinity included), and
``reference.json``, which describes them and holds the noise floor: the distance between torch in
the artifact's dtype and torch in the precision of the reference.

Programs are loaded one after the other: at no time are two in memory.
"""

import gc
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Exporter, Program, Spec
from tidemill.speech.rules import rules_of
from tidemill.speech.vocabulary import Vocabulary, read_vocabulary
from tidemill.steps.work.dtypes import (
    Array,
    is_float,
    name_of,
    possible_names,
    save_array,
)
from tidemill.steps.work.greedy import Plan, agreement, decode
from tidemill.steps.work.index import FORMAT, INDEX
from tidemill.steps.work.noise import Stepped, add_noise, add_steps, level
from tidemill.steps.work.protocol import OUT, Made, Request, Response
from tidemill.steps.work.recorded import Recorded
from tidemill.steps.work.samples import Argument, make_sample, plan_greedy
from tidemill.steps.work.spec import exporter_of, spec_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample with its arguments, and how to decode from it where that is asked for."""

    name: str
    dims: Mapping[str, int]
    arguments: Sequence[Argument]
    greedy: Plan | None
    vocabulary: Vocabulary | None = None

    @property
    def arrays(self) -> list[Array]:
        """The arguments as programs take them."""
        return [argument.array for argument in self.arguments]


def run(request: Request) -> Response:
    """Write the reference of a variant below ``out/``. Raises WorkError as the exporter does."""
    spec, exporter = spec_of(request), exporter_of(request)
    precision = str(request.fields["precision"])
    folder = Path(OUT)
    folder.mkdir(exist_ok=True)
    samples = read_samples(request, spec)
    entries = [_describe(sample, folder) for sample in samples]
    _expect(
        exporter.program(spec, precision),
        samples,
        entries=entries,
        names=request.fields.get("outputs", ()),
        precision=precision,
        folder=folder,
    )
    gc.collect()
    _measure(exporter, samples, entries=entries, spec=spec, precision=precision, folder=folder)
    if "f32" not in {precision, spec.dtype}:
        _decode_again(exporter, samples, entries=entries, spec=spec)
    index = {
        "format": FORMAT,
        "dtype": spec.dtype,
        "precision": precision,
        "exporter": request.fields["exporter"],
        "samples": entries,
    }
    text = json.dumps(index, indent=1, allow_nan=False)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")
    names = sorted(path.name for path in folder.iterdir())
    return Response(
        made=tuple(Made(name=name, kind="reference") for name in names),
        facts={"precision": precision, "samples": len(samples), "noise": _noise_facts(entries)},
    )


def read_samples(request: Request, spec: Spec) -> list[Sample]:
    """The samples of a request with their inputs made. Raises WorkError naming what is wrong."""
    raw_samples = request.fields["samples"]
    names = [str(raw["name"]) for raw in raw_samples]
    if not names:
        raise _wrong("there are no samples: a reference would compare nothing")
    for name in names:
        if names.count(name) > 1:
            raise _wrong(f"two samples are called {name}")
        if not _NAME.fullmatch(name):
            raise _wrong(f"sample {name!r}: a name has letters, digits and . _ - only")
    return [_sample(raw, spec, request=request) for raw in raw_samples]


def _sample(raw: Mapping[str, Any], spec: Spec, *, request: Request) -> Sample:
    name, asked = str(raw["name"]), raw.get("greedy")
    recorded = Recorded(sounds=request.files("sound"), outputs=request.files("output"))
    tokenizers = request.files("tokenizer")
    arguments = make_sample(spec, raw, tokenizers=tokenizers, recorded=recorded)
    plan, vocabulary = None, None
    if asked:
        if asked.get("vocabulary"):
            vocabulary = _vocabulary(request.files("vocabulary"), asked["vocabulary"])
        plan = plan_greedy(
            spec,
            arguments,
            tokens=int(asked["tokens"]),
            sample=name,
            rules=rules_of(vocabulary) if vocabulary else None,
        )
    return Sample(
        name=name,
        dims=raw.get("dims") or {},
        arguments=arguments,
        greedy=plan,
        vocabulary=vocabulary,
    )


def _vocabulary(files: Mapping[str, Path], name: str) -> Vocabulary:
    if name not in files:
        raise _wrong(f"the vocabulary {name} is not among the inputs")
    try:
        return read_vocabulary(files[name])
    except ValueError as error:
        raise _wrong(str(error)) from error


def _describe(sample: Sample, folder: Path) -> Json:
    """Write the inputs of a sample; its entry in the index, as far as it is known by then."""
    inputs = []
    for index, argument in enumerate(sample.arguments):
        file = f"{sample.name}.input{index}.npy"
        save_array(folder / file, argument.array, dtype=argument.dtype)
        shape = list(argument.shape)
        inputs.append(
            {"name": argument.name, "file": file, "dtype": argument.dtype, "shape": shape}
        )
    return {
        "name": sample.name,
        "dims": dict(sample.dims),
        "inputs": inputs,
        "outputs": [],
        "greedy": None,
    }


def _names(declared: Sequence[str], results: Sequence[Array]) -> list[str]:
    """The names of the outputs: as the manifest declares them, else ``output0`` and so on."""
    if declared and len(declared) != len(results):
        raise _wrong(
            f"the manifest names {len(declared)} outputs ({', '.join(declared)}),"
            f" but the program gives {len(results)}"
        )
    return list(declared) or [f"output{index}" for index in range(len(results))]


def _expect(
    program: Program,
    samples: Sequence[Sample],
    *,
    entries: Sequence[Json],
    names: Sequence[str],
    precision: str,
    folder: Path,
) -> None:
    """Run the full-precision program: expected outputs and, where asked for, expected tokens."""
    for sample, entry in zip(samples, entries, strict=True):
        results = program(sample.arrays)
        for index, (name, output) in enumerate(zip(_names(names, results), results, strict=True)):
            stored = precision if is_float(output) else name_of(output)
            file = f"{sample.name}.expected{index}.npy"
            save_array(folder / file, output, dtype=stored)
            entry["outputs"].append(
                {
                    "name": name,
                    "file": file,
                    "stored": stored,
                    "shape": list(output.shape),
                    "not_finite": int(np.count_nonzero(~np.isfinite(output))),
                    "dtypes": [name_of(output)],
                    "noise": {},
                }
            )
        if not entry["outputs"]:
            raise _wrong(f"sample {sample.name}: the program gives no output")
        if sample.greedy:
            expected = decode(program, sample.arrays, plan=sample.greedy)
            entry["greedy"] = {
                "tokens": sample.greedy.tokens,
                "masks": list(sample.greedy.masks),
                "expected": expected.tolist(),
                "torch": {},
                **_words(sample, expected),
            }


def _words(sample: Sample, tokens: Array) -> Json:
    """The rules of decoding, for who decodes again, and what the tokens say."""
    if sample.greedy is None or sample.greedy.rules is None or sample.vocabulary is None:
        return {}
    return {
        "rules": asdict(sample.greedy.rules),
        "text": [sample.vocabulary.text(row) for row in tokens.tolist()],
    }


def _measure(
    exporter: Exporter,
    samples: Sequence[Sample],
    *,
    entries: Sequence[Json],
    spec: Spec,
    precision: str,
    folder: Path,
) -> None:
    """Run torch in the artifact's dtype: the noise floor, and the element types of the outputs.

    With a reference in the artifact's own dtype nothing can be measured; noise stays empty then,
    but for programs that are run more than once (see ``noise``).
    """
    if spec.dtype == precision and not spec.quantised:
        return
    program = exporter.program(spec, spec.dtype)
    for sample, entry in zip(samples, entries, strict=True):
        results = program(sample.arrays)
        for result, output in zip(results, entry["outputs"], strict=True):
            output["dtypes"] = possible_names(result, spec.dtype)
        add_noise(results, entry, folder=folder)
        if isinstance(program, Stepped):
            add_steps(program, sample.arrays, entry, folder=folder)
        if sample.greedy:
            _compare_tokens(program, sample, entry=entry, dtype=spec.dtype)
    if isinstance(program, Stepped):
        level(entries)


def _decode_again(
    exporter: Exporter, samples: Sequence[Sample], *, entries: Sequence[Json], spec: Spec
) -> None:
    """Greedy tokens of torch in float32, which people compare with, where they are not known."""
    if not any(sample.greedy for sample in samples):
        return
    gc.collect()
    program = exporter.program(spec, "f32")
    for sample, entry in zip(samples, entries, strict=True):
        if sample.greedy:
            _compare_tokens(program, sample, entry=entry, dtype="f32")


def _compare_tokens(program: Program, sample: Sample, *, entry: Json, dtype: str) -> None:
    assert sample.greedy is not None  # noqa: S101 - callers have looked
    tokens = decode(program, sample.arrays, plan=sample.greedy)
    expected = np.array(entry["greedy"]["expected"])
    entry["greedy"]["torch"][dtype] = {
        "tokens": tokens.tolist(),
        "agreement": agreement(tokens, expected),
    }


def _noise_facts(entries: Sequence[Json]) -> Json:
    return {
        f"{entry['name']} {output['name']}": {
            name: output["noise"].get(name) for name in ("max_abs", "rel_l2")
        }
        for entry in entries
        for output in entry["outputs"]
    }


def _wrong(message: str) -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint="correct the component in the manifest")
