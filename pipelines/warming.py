"""Warm processes for a run: one for each toolchain in which several actions share imports."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tidemill.command import child_environment, command_of
from tidemill.graph import Node, NodeId
from tidemill.mill import Mill
from tidemill.steps.table import STEPS
from tidemill.warm import Warm, warm_process
from tidemill.workfolder import work_folder

#: With fewer actions two workers save nothing.
WORTH_IT = 3
#: What an export imports when it begins to trace.
_LATE = "tidemill.exporters.lowering"


@contextlib.contextmanager
def warmed(mill: Mill, todo: Iterable[NodeId]) -> Iterator[None]:
    """Give ``mill`` warm processes for what is to be done, while the body runs."""
    sharing: defaultdict[str, list[Node]] = defaultdict(list)
    for node in (mill.graph.nodes[name] for name in todo):
        if STEPS[node.stage].warm:
            sharing[node.toolchain].append(node)
    with contextlib.ExitStack() as stack:
        mill.warm = {
            toolchain: stack.enter_context(_warm(mill, nodes)).start
            for toolchain, nodes in sharing.items()
            if len(nodes) >= WORTH_IT
        }
        try:
            yield
        finally:
            mill.warm = {}


@contextlib.contextmanager
def _warm(mill: Mill, nodes: list[Node]) -> Iterator[Warm]:
    environment = mill.toolchains.environment(nodes[0].toolchain)
    stage = nodes[0].stage
    with (
        work_folder(mill.workspace.work) as folder,
        warm_process(
            command_of(stage, fields=nodes[0].fields, environment=environment),
            modules=modules_of(nodes),
            folder=folder,
            environment=child_environment(stage, environment=environment, folder=folder),
        ) as warm,
    ):
        yield warm


def modules_of(nodes: Iterable[Node]) -> list[str]:
    """The working halves and exporters of some nodes, each once."""
    names: dict[str, None] = {}
    for node in nodes:
        names[f"tidemill.steps.work.{node.stage}"] = None
        if node.stage == "export":
            names[_LATE] = None
        if exporter := node.fields.get("exporter"):
            names[f"tidemill.exporters.{exporter}"] = None
    return list(names)
