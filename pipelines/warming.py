"""Warm processes for a run: one for each toolchain in which several actions share imports."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tidemill.command import child_environment, command_of
from tidemill.errors import StoreError
from tidemill.graph import Node, NodeId
from tidemill.mill import Mill
from tidemill.steps.table import STEPS
from tidemill.warm import LOG, warm_process
from tidemill.workfolder import work_folder

#: With fewer actions two workers save nothing.
WORTH_IT = 3
#: What an export imports when it begins to trace.
_LATE = "tidemill.exporters.lowering"


@contextlib.contextmanager
def warmed(mill: Mill, todo: Iterable[NodeId]) -> Iterator[None]:
    """Give ``mill`` warm processes for what is to be done, while the body runs.

    What goes wrong with one is noted in ``mill.troubles``; actions then start by themselves.
    """
    sharing: defaultdict[str, list[Node]] = defaultdict(list)
    for node in (mill.graph.nodes[name] for name in todo):
        if STEPS[node.stage].warm:
            sharing[node.toolchain].append(node)
    # Closed without the body's exception, which is no trouble with a work folder.
    with contextlib.closing(contextlib.ExitStack()) as stack:
        for toolchain, nodes in sharing.items():
            if len(nodes) >= WORTH_IT:
                try:
                    stack.enter_context(_warm(mill, toolchain, nodes))
                except (OSError, StoreError) as error:
                    _note(mill, toolchain, str(error))
        try:
            yield
        finally:
            mill.warm = {}


@contextlib.contextmanager
def _warm(mill: Mill, toolchain: str, nodes: list[Node]) -> Iterator[None]:
    environment = mill.toolchains.environment(toolchain)
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
        mill.warm = {**mill.warm, toolchain: warm.start}
        yield
        if warm.gone:
            _note(mill, toolchain, _last_words(folder / LOG))


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "it was killed")


def _note(mill: Mill, toolchain: str, reason: str) -> None:
    name = mill.toolchains.environment(toolchain).lock.name
    mill.troubles += (
        f"toolchain {name} had no warm process, so its steps did their own imports: {reason}",
    )


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
