"""The verdict of a validation as the reports show it. Pure.

A verdict is stored as plain JSON by the validate step and read back years later, so every key may
be absent or of an older shape: what is not there is shown as not there, and nothing is invented.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.report.text import number_text, one_line

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Errors of one output, or the worst over all of them; None where it was not measured."""

    max_abs: float | None = None
    rel_l2: float | None = None
    cosine: float | None = None
    snr_db: float | None = None
    limit_max_abs: float | None = None
    limit_rel_l2: float | None = None

    @property
    def max_abs_text(self) -> str:
        """``2.1e-07 (1e-05)``: measured, and the limit in brackets where there is one."""
        return _with_limit(self.max_abs, self.limit_max_abs)

    @property
    def rel_l2_text(self) -> str:
        """Like ``max_abs_text``, for the relative L2 error."""
        return _with_limit(self.rel_l2, self.limit_rel_l2)

    @property
    def cosine_text(self) -> str:
        """Cosine similarity with enough digits to differ from 1."""
        return number_text(self.cosine, digits=7)

    @property
    def snr_text(self) -> str:
        """Signal to noise in dB."""
        return "-" if self.snr_db is None else f"{self.snr_db:.1f} dB"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheck:
    """One output of one sample against its reference."""

    sample: str
    name: str
    shape: str
    dtype: str
    metrics: Metrics
    ulp: str
    noise: str
    limits: str
    holds: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One output as people see it, and what it should look like; the files are PNG in base64."""

    label: str
    likeness: str
    found: str
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A whole verdict. ``holds`` is None where the record does not say."""

    holds: bool | None
    proxy: bool
    reasons: tuple[str, ...]
    worst: Metrics
    outputs: tuple[OutputCheck, ...]
    noise: str
    tried: tuple[str, ...]
    missed: tuple[str, ...]
    greedy: str
    quantisation: str = ""
    pictures: tuple[Picture, ...] = ()

    @property
    def word(self) -> str:
        """``holds``, ``does not hold`` or ``not said``."""
        return holds_word(self.holds)


def holds_word(holds: bool | None) -> str:
    """The word for an answer that may be missing."""
    return {True: "holds", False: "does not hold", None: "not said"}[holds]


def read_verdict(raw: Mapping[str, Any] | None) -> Verdict | None:
    """The verdict in ``raw``; None when there is none. Never raises on absent or odd keys."""
    if not raw:
        return None
    perturbations, greedy = _mapping(raw.get("perturbations")), _mapping(raw.get("greedy"))
    outputs = tuple(
        _output(item, sample=_text(sample.get("name")))
        for sample in map(_mapping, _sequence(raw.get("samples")))
        for item in map(_mapping, _sequence(sample.get("outputs")))
    )
    return Verdict(
        holds=_truth(raw.get("holds")),
        proxy=raw.get("kind") == "proxy",
        reasons=tuple(map(_text, _sequence(raw.get("reasons")))),
        worst=_metrics(_mapping(raw.get("summary")), limits={}),
        outputs=outputs,
        noise=spelled(raw.get("noise")),
        tried=tuple(map(_text, _sequence(perturbations.get("tried")))),
        missed=tuple(map(_text, _sequence(perturbations.get("missed")))),
        quantisation=_quantisation(_mapping(raw.get("quantisation"))),
        greedy=f"{_text(greedy.get('equal'))} of {_text(greedy.get('tokens'))}" if greedy else "",
        pictures=tuple(_picture(one) for one in map(_mapping, _sequence(raw.get("pictures")))),
    )


def _quantisation(raw: Mapping[str, Any]) -> str:
    """``perplexity 1799 before, 1816 after …``; "" where nothing was narrowed."""
    perplexity = _mapping(raw.get("perplexity"))
    before, after = _number(perplexity.get("float")), _number(perplexity.get("narrowed"))
    limit = _number(raw.get("limit"))
    if before is None or after is None:
        return ""
    allowed = "" if limit is None else f" ({limit:.3g} of it more is allowed)"
    return f"perplexity {before:.5g} before, {after:.5g} after{allowed}"


def spelled(value: object) -> str:
    """Any JSON value in one line for people: ``max_abs 2e-07, rel_l2 1e-06``."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_text(key)} {_nested(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return ", ".join(map(_nested, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, float):
        return number_text(value, digits=4)
    return one_line(str(value))


def _nested(value: object) -> str:
    inner = spelled(value)
    return f"({inner})" if isinstance(value, Mapping | list | tuple) else inner


def _picture(raw: Mapping[str, Any]) -> Picture:
    decibels, alike = _number(raw.get("psnr_db")), _number(raw.get("ssim"))
    parts = [] if decibels is None else [f"PSNR {decibels:.1f} dB"]
    parts += ["equal in every byte"] if raw.get("psnr_db", "") is None else []
    parts += [] if alike is None else [f"SSIM {alike:.6f}"]
    files = (_base64(raw.get("found")), _base64(raw.get("expected")))
    return Picture(
        label=f"{_text(raw.get('name'))} of {_text(raw.get('sample'))}",
        likeness=", ".join(parts),
        found=files[0],
        expected=files[1],
    )


def _base64(value: object) -> str:
    """What may stand in an address of a picture; "" for anything else."""
    return value if isinstance(value, str) and _BASE64.fullmatch(value) else ""


def _output(raw: Mapping[str, Any], *, sample: str) -> OutputCheck:
    limits, shape = _mapping(raw.get("limits")), raw.get("shape")
    return OutputCheck(
        sample=sample,
        name=_text(raw.get("name")),
        shape="x".join(map(_text, shape)) if isinstance(shape, list | tuple) else _text(shape),
        dtype=_text(raw.get("dtype")),
        metrics=_metrics(raw, limits=limits),
        ulp=spelled(raw.get("ulp")),
        noise=spelled(raw.get("noise")),
        limits=spelled({k: v for k, v in limits.items() if k not in {"max_abs", "rel_l2"}}),
        holds=_truth(raw.get("holds")),
    )


def _metrics(raw: Mapping[str, Any], *, limits: Mapping[str, Any]) -> Metrics:
    return Metrics(
        max_abs=_number(raw.get("max_abs")),
        rel_l2=_number(raw.get("rel_l2")),
        cosine=_number(raw.get("cosine")),
        snr_db=_number(raw.get("snr_db")),
        limit_max_abs=_number(raw.get("limit_max_abs", limits.get("max_abs"))),
        limit_rel_l2=_number(raw.get("limit_rel_l2", limits.get("rel_l2"))),
    )


def _with_limit(value: float | None, limit: float | None) -> str:
    measured = number_text(value)
    return measured if limit is None or value is None else f"{measured} ({number_text(limit)})"


def _number(value: object) -> float | None:
    """JSON has no NaN or infinity, so those come as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        named = value.get("name")
        return one_line(str(named)) if named is not None else spelled(value)
    return "" if value is None else one_line(str(value))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
