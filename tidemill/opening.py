"""Opens the mill over a workspace: manifests and lock → graph, checked flags, store, states."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tidemill.cache import Cache
from tidemill.code import code_digest
from tidemill.copies import Copies
from tidemill.digest import digest_bytes
from tidemill.errors import UsageError
from tidemill.graph import Graph
from tidemill.graph_build import build_graph
from tidemill.graph_flags import check_flags
from tidemill.graph_measured import ready_benchmarks
from tidemill.manifest.load import Manifests, load_manifests
from tidemill.mill import Mill
from tidemill.rungs import with_rungs
from tidemill.sources import TOKEN
from tidemill.states import States
from tidemill.store import open_store
from tidemill.store.contract import Store
from tidemill.store.folder import FolderStore
from tidemill.store.verified import Verified
from tidemill.toolchain.lock import read_lock
from tidemill.toolchain.probe import Devices, probe
from tidemill.toolchain.toolchains import Toolchains
from tidemill.workspace import Workspace


def open_mill(
    workspace: Workspace,
    *,
    toolchain: str = "default",
    models: Sequence[str] | None = None,
    targets: frozenset[str] | None = None,
    retry_failed: bool = False,
) -> Mill:
    """Read manifests, lock and store; check every flag against the very compiler.

    ``models`` and ``targets`` are what the pipeline takes; None takes all. Raises ManifestError,
    UsageError or StoreError.
    """
    manifests = load_manifests(workspace.root)
    toolchains = read_toolchains(workspace, manifests, own=toolchain, models=models)
    environment = toolchains.environment("")
    graph, notes = check_flags(
        _graph_of(manifests, models=models, targets=targets, compilers=toolchains.compilers()),
        manifests=manifests,
        toolchains=toolchains,
    )
    devices = functools.cache(lambda: probe(environment))
    graph = ready_benchmarks(
        graph, toolchains=toolchains, targets=manifests.targets.targets, devices=devices
    )
    store = open_store(workspace.store_url)
    cache = _cache_of(store, folder=workspace.cache)
    cache.prime()
    states = _states_of(
        graph, cache=cache, toolchains=toolchains, manifests=manifests, devices=devices
    )
    states.retry_failed = retry_failed
    return Mill(
        workspace=workspace,
        manifests=manifests,
        graph=graph,
        store=store,
        cache=cache,
        toolchains=toolchains,
        states=states,
        notes=(*notes, *_real_weights(manifests, models)),
        device_uri=lambda target: _uri(manifests, devices(), target=target),
    )


def read_toolchains(
    workspace: Workspace, manifests: Manifests, *, own: str, models: Sequence[str] | None = None
) -> Toolchains:
    """The locks of ``own`` and of what ``models`` name. Raises UsageError or ManifestError."""
    chosen = [m for name, m in manifests.models.items() if models is None or name in models]
    named = {part.toolchain for model in chosen for part in model.components.values()}
    return Toolchains(
        own=read_lock(workspace.lock_file(own)),
        others={name: read_lock(workspace.lock_file(name)) for name in named if name},
        state=workspace.state,
    )


def _real_weights(manifests: Manifests, models: Sequence[str] | None) -> tuple[str, ...]:
    """Told, because they are many gigabytes."""
    real = sorted(
        name
        for name, model in manifests.models.items()
        if (models is None or name in models) and any(one.hub for one in model.sources.values())
    )
    if not real or not os.environ.get(TOKEN):
        return ()
    return (f"{TOKEN} is set: {', '.join(real)} take real weights from the hub",)


def _cache_of(store: Store, *, folder: Path) -> Cache:
    index = folder / f"records-{digest_bytes(store.url.encode())[:16]}.msgpack"
    near = isinstance(store, FolderStore)
    copies = None if near else Copies(folder / "records", url=store.url)
    return Cache(store, Verified(folder), index, copies)


def _uri(manifests: Manifests, devices: Devices, *, target: str) -> str:
    part = manifests.targets.targets[target]
    device = devices.device_for(needs=part.needs, chip=part.chip)
    return device.uri if device else ""


def _graph_of(
    manifests: Manifests,
    *,
    models: Sequence[str] | None,
    targets: frozenset[str] | None,
    compilers: Mapping[str, str],
) -> Graph:
    if missing := set(models or ()) - {*manifests.models, *manifests.suites}:
        known = ", ".join(sorted({*manifests.models, *manifests.suites}))
        raise UsageError(f"no model {', '.join(sorted(missing))} in manifests/ (known: {known})")
    chosen = [m for name, m in manifests.models.items() if models is None or name in models]
    graph = build_graph(
        chosen,
        targets=manifests.targets.targets,
        compiler=compilers[""],
        compilers=compilers,
        only_targets=targets,
        token=bool(os.environ.get(TOKEN)),
        folders={name: str(folder) for name, folder in manifests.folders.items()},
        suites=[one for name, one in manifests.suites.items() if models is None or name in models],
    )
    return with_rungs(graph, manifests.expectations)


def _states_of(
    graph: Graph,
    *,
    cache: Cache,
    toolchains: Toolchains,
    manifests: Manifests,
    devices: Callable[[], Devices],
) -> States:
    parts = manifests.targets.targets
    return States(
        graph=graph,
        cache=cache,
        tools={name: toolchains.versions(name) for name in toolchains.names()},
        code={roots: code_digest(roots) for roots in {node.code for node in graph.nodes.values()}},
        missing_device=lambda target: (
            devices().absent(needs=parts[target].needs, chip=parts[target].chip) or None
        ),
    )
