"""The verdict over all outputs of an artifact. Pure; numpy only.

An output is judged by its contract (``contract``). Each contract is also tried on deliberately
perturbed outputs (``perturb``): if it accepts one that it has to refuse, the verdict does not hold
and says ``vacuous``. Nothing to compare is a reason not to hold.
"""

from collections.abc import Sequence

from tidemill.steps.work import perturb
from tidemill.steps.work.contract import Contract, Json

_SUMMARY = ("max_abs", "rel_l2", "cosine", "snr_db")


def conclude(
    judged: Sequence[Json],
    contract: Contract,
    *,
    problems: Sequence[str] = (),
    greedy: Sequence[Json] = (),
) -> Json:
    """The verdict over all outputs of all samples. ``problems`` are reasons found on the way."""
    reasons = [*problems, *(reason for one in judged for reason in one["reasons"])]
    if not judged:
        reasons.append("there is nothing to compare: no output of any sample was judged")
    reasons += _unknown_logits(judged, contract)
    vacuous = _vacuous(judged)
    reasons += [f"the contract is vacuous: {words}" for words in vacuous]
    reasons += [words for one in greedy for words in _greedy_problem(one)]
    worst = max((one for one in judged if one["compared"]), key=_used, default={})
    return {
        "holds": not reasons,
        "kind": "full",
        "vacuous": bool(vacuous),
        "reasons": reasons,
        "summary": _summary(worst),
        "noise": worst.get("noise", {}),
        "contract": {
            "factor": contract.factor,
            "absolute": contract.absolute,
            "reason": contract.reason,
            "top1": contract.top1,
        },
        "samples": _by_sample(judged),
        "perturbations": _perturbations(judged),
        "greedy": _greedy(greedy),
    }


def _unknown_logits(judged: Sequence[Json], contract: Contract) -> list[str]:
    known = list(dict.fromkeys(one["name"] for one in judged))
    return [
        f"logits names {name!r}, which is no output; outputs are {', '.join(known)}"
        for name in contract.logits
        if name not in known
    ]


def _vacuous(judged: Sequence[Json]) -> list[str]:
    words = [
        f"sample {one['sample']} {one['name']} would pass with {perturb.WORDS[name]}"
        for one in judged
        for name in one["vacuous"]
    ]
    tried: dict[str, set[str]] = {}
    for one in judged:
        tried.setdefault(one["name"], set()).update(one["tried"])
    # An output that is zero in every sample cannot tell a right program from an empty one.
    return words + [
        f"{name} is zero in every sample, so nothing can be told from it"
        for name, names in tried.items()
        if "zeros" not in names
    ]


def _used(one: Json) -> float:
    """The share of its limit that an output uses; the worst output uses most."""
    shares = [0.0]
    for name, bound in one["limits"].items():
        value = one[name]
        if value:
            shares.append(value / bound if bound else float("inf"))
    return max(shares)


def _summary(worst: Json) -> Json:
    bounds = worst.get("limits", {})
    return {
        **{name: worst.get(name) for name in _SUMMARY},
        "limit_max_abs": bounds.get("max_abs"),
        "limit_rel_l2": bounds.get("rel_l2"),
        "output": f"sample {worst['sample']} {worst['name']}" if worst else None,
    }


def _by_sample(judged: Sequence[Json]) -> list[Json]:
    samples: dict[str, list[Json]] = {}
    for one in judged:
        samples.setdefault(one["sample"], []).append(one)
    return [
        {"name": name, "holds": all(one["holds"] for one in outputs), "outputs": outputs}
        for name, outputs in samples.items()
    ]


def _perturbations(judged: Sequence[Json]) -> Json:
    tried = [name for name in perturb.WORDS if any(name in one["tried"] for one in judged)]
    missed = [
        {
            "name": f"sample {one['sample']} {one['name']}: {perturb.WORDS[name]}",
            "mandatory": name in one["vacuous"],
        }
        for one in judged
        for name in one["missed"]
    ]
    return {"tried": [perturb.WORDS[name] for name in tried], "missed": missed}


def _greedy_problem(one: Json) -> list[str]:
    if not one["tokens"]:
        return [f"sample {one['sample']}: there are no greedy tokens to compare"]
    if one["equal"] == one["tokens"]:
        return []
    return [
        f"sample {one['sample']}: {one['equal']} of {one['tokens']} greedy tokens equal the"
        f" reference's; the first difference is at token {one['first_difference']}"
    ]


def _greedy(greedy: Sequence[Json]) -> Json | None:
    if not greedy:
        return None
    return {
        "tokens": sum(one["tokens"] for one in greedy),
        "equal": sum(one["equal"] for one in greedy),
        "samples": list(greedy),
    }
