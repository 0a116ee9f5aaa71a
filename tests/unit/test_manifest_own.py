"""The manifests of this repository, and the JSON Schema that editors read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from tidemill.digest import canonical_json
from tidemill.graph_build import build_graph
from tidemill.manifest.load import Manifests, load_manifests

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return load_manifests(REPO)


def test_the_repositorys_own_manifests_are_sound(manifests: Manifests) -> None:
    assert {"magika", "minilm", "mobilenet", "stories15m"} <= set(manifests.models)
    assert {"cpu", "gfx90a", "gfx942", "gfx950", "gfx1100", "gfx1201"} <= set(
        manifests.targets.targets
    )


@pytest.mark.parametrize("compiler", ["3.9.0", "3.10.0", "3.11.0", "3.12.0", "3.13.0"])
def test_every_target_has_flags_for_every_compiler_in_use(
    manifests: Manifests, compiler: str
) -> None:
    graph = build_graph(
        manifests.models.values(), targets=manifests.targets.targets, compiler=compiler
    )
    compiles = [node for node in graph.nodes.values() if node.stage == "compile"]
    assert len(compiles) >= len(manifests.targets.targets)
    assert all(node.fields["flags"] for node in compiles)


def test_the_fields_of_every_node_survive_being_written_as_json(manifests: Manifests) -> None:
    graph = build_graph(
        manifests.models.values(), targets=manifests.targets.targets, compiler="3.13.0"
    )
    for name, node in graph.nodes.items():
        assert json.loads(canonical_json(node.fields)) == node.fields, name


def test_every_rename_says_since_when(manifests: Manifests) -> None:
    assert manifests.targets.renames
    for rename in manifests.targets.renames:
        assert Version(rename.since) >= Version("3.0"), rename.flag
        assert rename.replacement or rename.note, f"{rename.flag} goes away without a word"


def test_the_schema_for_editors_is_printed() -> None:
    command = [sys.executable, "-m", "tidemill", "manifest", "schema"]
    done = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True)
    schema = json.loads(done.stdout)
    assert schema["title"] == "ManifestPart"
    assert schema["additionalProperties"] is False
    assert "from" in schema["$defs"]["SourcePart"]["properties"]
    assert "origin" not in schema["$defs"]["SourcePart"]["properties"]


def test_the_check_command_counts_what_is_sound() -> None:
    command = [sys.executable, "-m", "tidemill", "manifest", "check", "--json"]
    done = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True)
    answer = json.loads(done.stdout)
    assert answer["problems"] == []
    assert "minilm" in answer["models"]
