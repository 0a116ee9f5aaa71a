"""--model, --component, --variant, --target, --stage: the nodes that they name, or why none.

A filter that fits nothing is named, with the names that look most like what was typed, or with the
pipelines that have what this one has not.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import click

from tidemill.address import closest
from tidemill.cli.output import Command
from tidemill.errors import UsageError
from tidemill.graph import Graph, Node, NodeId, Selection, select
from tidemill.records import STAGES

#: (axis, pattern) → the pipelines that have something of that name.
Having = Callable[[str, str], Sequence[str]]

_SELECTED = ("model", "component", "variant", "target")
#: What a pipeline chooses from what there is.
_CHOSEN = frozenset({"model", "target"})


def selection_options(command: Command) -> Command:
    """--model, --component, --variant, --target (shell-style patterns) and --stage.

    The command gets them together as ``selection``.
    """

    @functools.wraps(command)
    def selecting(*args: Any, stage: str | None, **options: Any) -> Any:
        parts = {name: options.pop(name) for name in _SELECTED}
        return command(*args, selection=Selection(stage=stage or "", **parts), **options)

    wrapped: Any = selecting
    for name in reversed(_SELECTED):
        wrapped = click.option(
            f"--{name}",
            multiple=True,
            metavar="G",
            help=f"Only this {name}; globs allowed, may be repeated.",
        )(wrapped)
    selected: Command = click.option(
        "--stage", type=click.Choice(STAGES), default=None, help="Only up to this stage."
    )(wrapped)
    return selected


def named_nodes(
    graph: Graph, selection: Selection, *, pipeline: str, having: Having
) -> set[NodeId]:
    """The nodes of ``pipeline`` that a selection names (without what they need).

    Raises UsageError that says why, when it names none.
    """
    named = select(graph, selection)
    if named:
        return named
    nodes, given = list(graph.nodes.values()), _given(selection)
    lost = {axis: patterns for axis, patterns in given.items() if not _only(nodes, axis, patterns)}
    if not lost:
        raise _together(nodes, given, pipeline=pipeline)
    told = [
        _absent(pattern, axis, pipeline=pipeline, others=others)
        if axis in _CHOSEN and (others := having(axis, pattern))
        else _unknown(pattern, axis, pipeline=pipeline, nodes=nodes)
        for axis, patterns in lost.items()
        for pattern in patterns
    ]
    messages, hints = zip(*told, strict=True)
    raise UsageError("; ".join(messages), hint="; ".join(hints))


def _given(selection: Selection) -> Mapping[str, tuple[str, ...]]:
    """Axis → its patterns, of the filters that were given."""
    stage = (selection.stage,) if selection.stage else ()
    axes = {**{axis: getattr(selection, axis) for axis in _SELECTED}, "stage": stage}
    return {axis: patterns for axis, patterns in axes.items() if patterns}


def _absent(pattern: str, axis: str, *, pipeline: str, others: Sequence[str]) -> tuple[str, str]:
    has = f"{', '.join(others)} {'has' if len(others) == 1 else 'have'} it"
    return (
        f"{pattern} is not in {pipeline}; {has}",
        f"look at it: tidemill plan {others[0]} --{axis} {pattern}",
    )


def _unknown(pattern: str, axis: str, *, pipeline: str, nodes: Sequence[Node]) -> tuple[str, str]:
    known = {name for node in nodes for name in _names(node, axis)}
    return f"--{axis} {pattern} fits nothing in {pipeline}", closest(
        pattern, known, noun=f"{axis}s"
    )


def _together(
    nodes: Sequence[Node], given: Mapping[str, tuple[str, ...]], *, pipeline: str
) -> UsageError:
    """Each filter fits something: the first that leaves nothing of what those before it leave."""
    before: list[str] = []
    for axis, patterns in given.items():
        here = " ".join(f"--{axis} {pattern}" for pattern in patterns)
        left = _only(nodes, axis, patterns)
        if not left:
            there = sorted({name for node in nodes for name in _names(node, axis)})
            return UsageError(
                f"nothing in {pipeline} fits {' '.join(before)} and {here}, though each fits some",
                hint=f"the {axis}s of {' '.join(before)}: {', '.join(there) or 'none'}",
            )
        nodes, before = left, [*before, here]
    stages = [stage for stage in STAGES if any(node.stage == stage for node in nodes)]
    return UsageError(
        f"{' '.join(before)} fits nothing that {pipeline} ends with",
        hint=f"name one of its stages with --stage: {', '.join(stages)}",
    )


def _only(nodes: Sequence[Node], axis: str, patterns: Sequence[str]) -> list[Node]:
    return [
        node
        for node in nodes
        if any(fnmatchcase(name, one) for name in _names(node, axis) for one in patterns)
    ]


def _names(node: Node, axis: str) -> Iterator[str]:
    """What a node is called on an axis."""
    at = node.address
    names = {
        "model": (at.model,),
        # The second part of a fetch's address is a source, which belongs to every component.
        "component": (at.component,) if node.stage != "fetch" else (),
        "variant": (at.variant,),
        "target": (at.target, node.target),
        "stage": (node.stage,),
    }
    return filter(None, names[axis])
