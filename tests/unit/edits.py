"""Edits of the sound manifest of ``made``, and the problems that they make."""

from pathlib import Path

from tests.unit.made import MODEL, write_workspace
from tidemill.errors import ManifestError
from tidemill.manifest.load import load_manifests

FILE = "manifests/models/tiny.yaml"
COMPONENT = "components.encoder"
SAMPLE_LINE = "          ids: {kind: integers, seed: 1, low: 0, high: 9}"
WEIGHTS = "weights: [package/model.safetensors]"
Case = tuple[list[tuple[str, str]], list[str]]


def problems_of(root: Path, *, model: str) -> list[str]:
    """The problems without the file's name, which is always the same."""
    write_workspace(root, model=model)
    try:
        load_manifests(root)
    except ManifestError as error:
        return [line.removeprefix(f"{FILE}:") for line in error.message.splitlines()[:-1]]
    return []


def edited(*edits: tuple[str, str]) -> str:
    text = MODEL
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    return text


def kind(text: str) -> tuple[str, str]:
    return (SAMPLE_LINE, f"          ids: {text}")


def source(text: str) -> tuple[str, str]:
    return ("from: pypi:tiny==1.0", f"from: {text}")


def after_dtypes(text: str) -> tuple[str, str]:
    return ("    dtypes: [f32, f16]\n", f"    dtypes: [f32, f16]\n    {text}\n")
