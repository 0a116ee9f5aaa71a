"""Manifests → the graph: every node and edge of some models. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from tidemill.address import Address
from tidemill.graph import DEFAULT_LIMITS, Graph, Node, NodeId
from tidemill.graph_benchmark import benchmarks
from tidemill.graph_suites import suite_nodes
from tidemill.graph_variant import Variant, limits_of, variants
from tidemill.manifest.hub_weights import settled
from tidemill.manifest.model import ManifestPart
from tidemill.manifest.suites import Suite
from tidemill.manifest.targets import TargetPart
from tidemill.sources import parse_source
from tidemill.steps.table import STEPS


def build_graph(
    models: Iterable[ManifestPart],
    *,
    targets: Mapping[str, TargetPart],
    compiler: str,
    compilers: Mapping[str, str] | None = None,
    only_targets: frozenset[str] | None = None,
    folders: Mapping[str, str] | None = None,
    token: bool = False,
    suites: Iterable[Suite] = (),
) -> Graph:
    """Every node of ``models`` and ``suites``; flags are chosen for the version ``compiler``.

    ``compilers`` are the versions of the toolchains that components name.

    With a ``token`` weights that are gated on the hub are fetched, else they come from a seed.
    ``folders`` says where the manifest of a model lies, for ``file:`` sources. Raises ManifestError
    for a target without flags for this compiler.
    """
    nodes: dict[NodeId, Node] = {}
    for model in (settled(one, token=token) for one in models):
        for node in _fetches(model, base=(folders or {}).get(model.name, "")):
            nodes[node.id] = node
        for name, component in model.components.items():
            chosen = [
                target
                for target in component.targets or tuple(targets)
                if only_targets is None or target in only_targets
            ]
            for dtype, axis in variants(component):
                variant = Variant(
                    model=model, name=name, component=component, dtype=dtype, axis=axis
                )
                version = (compilers or {}).get(variant.toolchain, compiler)
                for node in (
                    *variant.shared(),
                    *variant.of_targets(chosen, targets, version),
                    *benchmarks(variant, chosen, targets),
                ):
                    nodes[node.id] = node
    for suite in suites:
        for node in suite_nodes(suite, targets, compiler=compiler, only_targets=only_targets):
            nodes[node.id] = node
    return Graph(nodes=nodes)


def _fetches(model: ManifestPart, *, base: str) -> Iterator[Node]:
    for name, source in model.sources.items():
        if parse_source(source.origin).scheme == "synthetic":
            continue
        files = {
            file: {"path": part.path, "sha256": part.sha256} for file, part in source.files.items()
        }
        yield Node(
            stage="fetch",
            address=Address(model.name, name, ""),
            fields={
                "from": source.origin,
                "sha256": source.sha256 or "",
                "files": files,
                "pickle": source.pickle or "",
            },
            limits=limits_of(source.limits or DEFAULT_LIMITS["fetch"]),
            code=STEPS["fetch"].code,
            base=base,
        )
