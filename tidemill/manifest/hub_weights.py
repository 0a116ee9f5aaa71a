"""Which weights a manifest means here: the real ones of the hub, or values from a seed. Pure.

Gated weights need a token. A source with ``hub:`` stands for them where there is one; elsewhere its
values come from a seed, so that the same manifest builds on any machine.
"""

from collections.abc import Mapping

from tidemill.manifest.model import ComponentPart, FilePart, ManifestPart, SourcePart


def settled(model: ManifestPart, *, token: bool) -> ManifestPart:
    """``model`` without ``hub:``: each such source is the one or the other."""
    choices = {name: source for name, source in model.sources.items() if source.hub}
    if not choices:
        return model
    sources = {name: _source(source, token=token) for name, source in model.sources.items()}
    components = {
        name: component if token else _from_seed(component, choices)
        for name, component in model.components.items()
    }
    return model.model_copy(update={"sources": sources, "components": components})


def _source(source: SourcePart, *, token: bool) -> SourcePart:
    if source.hub is None or not token:
        return source
    # The commit pins the bytes; the server names their sha256.
    files = {
        name: FilePart.model_construct(path=path, sha256="")
        for name, path in source.hub.files.items()
    }
    changes = {"origin": source.hub.origin, "files": files, "hub": None}
    return source.model_copy(update=changes)


def _from_seed(component: ComponentPart, choices: Mapping[str, SourcePart]) -> ComponentPart:
    weights = dict.fromkeys(
        one.partition("/")[0] if one.partition("/")[0] in choices else one
        for one in component.weights
    )
    return component.model_copy(update={"weights": tuple(weights)})
