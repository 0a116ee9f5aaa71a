"""The contract of one output: its limits, whether it holds, and whether it is worth anything.

Pure; numpy only. The contract is relative to the noise floor: what torch itself loses when it
computes in the artifact's dtype, measured against the full-precision reference. With factor f,
noise n, the dtype's epsilon e and the largest expected magnitude s::

    relative L2 ≤ f × max(n.rel_l2, e)        max abs ≤ f × max(n.max_abs, e × s)

Epsilon is the least floor because rounding the exact result once already costs up to e/2 of each
value: measured noise below it is luck (a value that happens to be representable, a single addition)
and must not become a demand. Integer and boolean outputs have no floor. A declared absolute
tolerance replaces both limits. Shape, element type and NaN/Inf places must always agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.steps.work import perturb
from tidemill.steps.work.dtypes import EPSILON, Array, is_float
from tidemill.steps.work.metrics import Metrics, compare, distance

Json = dict[str, Any]

#: What a verdict repeats of the noise that the reference measured.
_NOISE = ("max_abs", "rel_l2", "mask_equal", "top1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """``fields["numerics"]``: what an artifact of ``dtype`` promises.

    ``absolute`` with its ``reason`` replaces the limits that follow from noise. ``logits`` names
    outputs (``output0`` …) whose best index must agree with the reference in a share of ``top1``
    positions. ``narrowed`` says that the program itself rounds its activations to eight bits: then
    a sum that differs in the last place can move a value by a whole step. ``proxy`` says what was
    reduced, when the model validated is not the whole one.
    """

    dtype: str
    factor: float = 8.0
    absolute: float | None = None
    reason: str = ""
    logits: tuple[str, ...] = ()
    top1: float | None = None
    narrowed: bool = False

    @property
    def coarseness(self) -> str:
        """The type whose rounding the values have, by which perturbations are large or small.

        A step of eight bits is about one of bfloat16, whatever type the results have.
        """
        return "bf16" if self.narrowed else self.dtype

    @staticmethod
    def of(numerics: Mapping[str, Any], *, dtype: str) -> "Contract":
        """Read the field. Raises ValueError on a contract that means nothing."""
        absolute = numerics.get("absolute")
        if absolute and not str(absolute.get("reason", "")).strip():
            raise ValueError("an absolute tolerance needs a written reason")
        if numerics.get("top1") is not None and not numerics.get("logits"):
            raise ValueError("top1 is demanded, but no output is named under logits")
        return Contract(
            dtype=dtype,
            factor=float(numerics.get("factor", 8.0)),
            absolute=float(absolute["max_abs"]) if absolute else None,
            reason=absolute["reason"] if absolute else "",
            logits=tuple(numerics.get("logits") or ()),
            top1=numerics.get("top1"),
            narrowed=bool(numerics.get("narrowed")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """One output of one sample: what came, what was expected, and torch's own noise.

    ``dtypes`` are the element types that are right; ``dtype`` is the one that came.
    """

    sample: str
    name: str
    actual: Array
    dtype: str
    expected: Array
    dtypes: Sequence[str]
    noise: Mapping[str, Any] = field(default_factory=dict)
    #: How far the output is of a program that narrows no activations, if this one narrows any.
    unnarrowed: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """How reasons call it."""
        return f"sample {self.sample} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One bound, and in words where it comes from."""

    value: float
    words: str


def limits(contract: Contract, noise: Mapping[str, Any], *, expected: Array) -> dict[str, Limit]:
    """The bounds on ``max_abs`` and ``rel_l2`` for one output."""
    if contract.absolute is not None:
        words = f"the absolute tolerance {contract.absolute:.1e}"
        return {"max_abs": Limit(value=contract.absolute, words=words)}
    floor = EPSILON[contract.dtype] if is_float(expected) else 0.0
    scale = distance(expected, expected).scale or 0.0
    return {
        "rel_l2": _limit(contract, noise.get("rel_l2"), floor=floor),
        "max_abs": _limit(contract, noise.get("max_abs"), floor=floor * scale),
    }


def _limit(contract: Contract, noise: float | None, *, floor: float) -> Limit:
    measured = noise or 0.0
    kind, base = ("noise", measured) if measured >= floor else (f"{contract.dtype} floor", floor)
    return Limit(value=contract.factor * base, words=f"{contract.factor:g} times {kind} {base:.1e}")


def violations(metrics: Metrics, bounds: Mapping[str, Limit]) -> list[str]:
    """Why measured values break the contract; empty when they do not."""
    if metrics.shape != metrics.expected_shape:
        return [
            f"has shape {shape_text(metrics.shape)}, expected {shape_text(metrics.expected_shape)}"
        ]
    if not metrics.compared:
        return ["has nothing to compare: no element is finite in both"]
    broken = (
        [] if metrics.mask_equal else ["has NaN or Inf where the reference has none, or lacks one"]
    )
    for name, words in (("rel_l2", "relative L2"), ("max_abs", "max abs")):
        value, bound = getattr(metrics, name), bounds.get(name)
        if bound and value is not None and value > bound.value:
            broken.append(f"{words} {value:.1e} exceeds {bound.words}")
    return broken


def judge(produced: Produced, contract: Contract) -> Json:
    """Everything about one output: measures, limits, reasons, and how the contract was tried."""
    noise = {name: produced.noise[name] for name in _NOISE if name in produced.noise}
    bounds = limits(contract, noise, expected=produced.expected)
    logits = produced.name in contract.logits
    if not logits:
        noise.pop("top1", None)
    metrics = compare(produced.actual, produced.expected, dtype=produced.dtype, logits=logits)
    reasons = _type_problem(produced) + _emptiness(produced) or violations(metrics, bounds)
    if logits and contract.top1 is not None and not reasons:
        reasons = _top1_problem(metrics, contract, noise=noise)
    tried, missed, weak = self_check(
        produced.expected, contract, noise=noise, unnarrowed=produced.unnarrowed
    )
    return {
        **metrics.to_json(),
        "sample": produced.sample,
        "name": produced.name,
        "dtype": produced.dtype,
        "noise": noise,
        "limits": {name: bound.value for name, bound in bounds.items()},
        "holds": not reasons,
        "reasons": [f"{produced.title}: {reason}" for reason in reasons],
        "tried": tried,
        "missed": missed,
        "vacuous": weak,
    }


def self_check(
    expected: Array,
    contract: Contract,
    *,
    noise: Mapping[str, Any],
    unnarrowed: Mapping[str, Any] | None = None,
) -> tuple[list[str], list[str], list[str]]:
    """What was tried on one output, what the contract accepts, and what of that it must refuse."""
    bounds = limits(contract, noise, expected=expected)
    tried, missed = [], []
    for name, wrong in perturb.perturbed(expected):
        tried.append(name)
        if not violations(distance(wrong, expected), bounds):
            missed.append(name)
    must = perturb.mandatory(expected, contract.coarseness)
    if unnarrowed is not None:
        tried.append("unnarrowed")
        must |= {"unnarrowed"}
        if all((unnarrowed[name] or 0.0) <= bound.value for name, bound in bounds.items()):
            missed.append("unnarrowed")
    return tried, missed, [name for name in missed if name in must]


def _type_problem(produced: Produced) -> list[str]:
    if produced.dtype in produced.dtypes:
        return []
    return [f"has element type {produced.dtype}, expected {' or '.join(produced.dtypes)}"]


def _emptiness(produced: Produced) -> list[str]:
    shapes = {"expected": produced.expected.shape, "actual": produced.actual.shape}
    empty = [f"{word} {shape_text(s)}" for word, s in shapes.items() if 0 in s]
    return [f"has nothing to compare: {' and '.join(empty)} is empty"] if empty else []


def _top1_problem(metrics: Metrics, contract: Contract, *, noise: Mapping[str, Any]) -> list[str]:
    if metrics.top1 is None:
        return ["is named under logits, but its last axis has no choice"]
    if contract.top1 is None or metrics.top1 >= contract.top1:
        return []
    own = noise.get("top1")
    aside = "" if own is None else f"; torch in {contract.dtype} itself reaches {own:.4f}"
    return [f"top-1 agreement {metrics.top1:.4f} is below {contract.top1:g}{aside}"]


def shape_text(shape: Sequence[int]) -> str:
    """A shape as ``(2, 384)``."""
    return f"({', '.join(map(str, shape))})"
