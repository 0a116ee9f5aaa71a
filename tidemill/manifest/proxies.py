"""What each component is validated with: samples of its own, or a proxy that is like it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidemill.manifest.problems import Location

#: What a proxy and the component that it stands for have in common, beside types and targets.
SAME = ("exporter", "options", "flags", "outputs")


def judged(
    components: Mapping[str, Any], name: str, *, targets: Mapping[str, object]
) -> Iterator[tuple[Location, str]]:
    """The problems of component ``name`` of a manifest's raw ``components``."""
    component, at = components[name], ("components", name)
    if not isinstance(component, dict):
        return
    dtypes = _listed(component.get("dtypes"))
    proxied = _listed(component.get("proxied")) or (dtypes if "proxy" in component else [])
    if "proxied" in component and "proxy" not in component:
        yield (*at, "proxied"), "says which types a proxy stands for, and names no proxy"
    for one in proxied:
        if one not in dtypes:
            yield (*at, "proxied"), f"'{one}' is no type of this component"
    alone = [str(one) for one in dtypes if one not in proxied]
    if alone and not component.get("samples"):
        yield at, f"has no samples: say what {', '.join(alone)} is validated with, or name a proxy"
    for idle in ("samples", "numerics", "reference", "benchmark"):
        if dtypes and not alone and idle in component:
            yield (*at, idle), "is validated by its proxy: take these out, or the proxy"
    if "proxy" not in component:
        return
    able = {one: part for one, part in components.items() if one != name and _has_samples(part)}
    chosen = component["proxy"]
    if not isinstance(chosen, str):
        return  # said where types are checked
    if chosen not in able:
        known = ", ".join(sorted(able)) or "none"
        yield (*at, "proxy"), f"no component '{chosen}' with samples (known: {known})"
        return
    wanted = {**component, "dtypes": proxied}
    for words in _differences(wanted, able[chosen], targets=tuple(targets)):
        yield (*at, "proxy"), f"'{chosen}' {words}"


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _has_samples(part: object) -> bool:
    return isinstance(part, dict) and "proxy" not in part and bool(part.get("samples"))


def _differences(
    component: dict[str, Any], proxy: dict[str, Any], *, targets: Sequence[str]
) -> Iterator[str]:
    for field in SAME:
        if component.get(field) != proxy.get(field):
            yield f"has other {field}: it stands for something else"
    for field, every in (("dtypes", ()), ("targets", targets)):
        there = proxy.get(field) or every
        if lacking := [str(one) for one in component.get(field) or every if one not in there]:
            yield f"lacks the {field} {', '.join(lacking)}"
    matrix = proxy.get("matrix")
    for axis, sizes in matrix.items() if isinstance(matrix, dict) else ():
        if isinstance(sizes, list) and len(sizes) != 1:
            yield f"has {len(sizes)} sizes of '{axis}': a proxy is one variant a dtype"
