"""The compile flags of a whole graph, checked against the very compiler that will get them."""

from tidemill.errors import ManifestError
from tidemill.graph import Graph, Node
from tidemill.manifest.load import Manifests
from tidemill.toolchain.environment import Environment
from tidemill.toolchain.flags import known_flags, lint


def check_flags(
    graph: Graph, *, manifests: Manifests, environment: Environment, version: str
) -> tuple[Graph, tuple[str, ...]]:
    """The graph with renamed flags translated, and what was translated.

    Raises ManifestError that lists every flag that the compiler or a key cannot take.
    """
    compiler = environment.tool("iree-compile")
    known = known_flags(compiler, cache=environment.flags_cache)
    problems: dict[str, None] = {}
    notes: dict[str, None] = {}
    seen: dict[tuple[str, ...], list[str]] = {}

    def translate(node: Node) -> list[str]:
        flags = tuple(node.fields["flags"])
        if flags not in seen:
            linted = lint(flags, known=known, renames=manifests.targets.renames, version=version)
            where = f"{node.address}"
            problems.update({f"{where}: {problem.message}": None for problem in linted.problems})
            notes.update(dict.fromkeys(linted.notes))
            seen[flags] = list(linted.flags)
        return seen[flags]

    checked = graph.with_flags(translate)
    if problems:
        raise ManifestError(
            "\n".join(problems), hint="Mend the flags in manifests/targets.yaml or in the model."
        )
    return checked, tuple(notes)
