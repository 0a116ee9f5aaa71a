"""The compile flags of a whole graph, checked against the very compiler that will get them."""

from tidemill.errors import ManifestError
from tidemill.graph import Graph, Node
from tidemill.manifest.load import Manifests
from tidemill.toolchain.flags import known_flags, lint
from tidemill.toolchain.toolchains import Toolchains


def check_flags(
    graph: Graph, *, manifests: Manifests, toolchains: Toolchains
) -> tuple[Graph, tuple[str, ...]]:
    """The graph with renamed flags translated, and what was translated.

    A compiler that is not on this machine is not asked: its nodes cannot be built here anyway.
    Raises UsageError without the run's own toolchain, and ManifestError that lists every flag that
    the compiler or a key cannot take.
    """
    environments = {name: toolchains.built(name) for name in toolchains.names()}
    environments[""] = toolchains.environment("")
    known = {
        name: known_flags(one.tool("iree-compile"), cache=one.flags_cache)
        for name, one in environments.items()
        if one
    }
    versions = toolchains.compilers()
    problems: dict[str, None] = {}
    notes: dict[str, None] = {}
    seen: dict[tuple[str, ...], list[str]] = {}  # by the toolchain and the flags

    def translate(node: Node) -> list[str]:
        chain, flags = node.toolchain, tuple(node.fields["flags"])
        if chain not in known:
            return list(flags)
        if (chain, *flags) not in seen:
            linted = lint(
                flags,
                known=known[chain],
                renames=manifests.targets.renames,
                version=versions[chain],
            )
            where = f"{node.address}"
            problems.update({f"{where}: {problem.message}": None for problem in linted.problems})
            notes.update(dict.fromkeys(linted.notes))
            seen[chain, *flags] = list(linted.flags)
        return seen[chain, *flags]

    checked = graph.with_flags(translate)
    if problems:
        raise ManifestError(
            "\n".join(problems), hint="Mend the flags in manifests/targets.yaml or in the model."
        )
    return checked, tuple(notes)
