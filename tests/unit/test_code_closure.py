"""Which source files count for a step's key: those that its import statements reach, no others."""

import ast
from pathlib import Path

import pytest

from tidemill.code import PACKAGE, closure, code_digest
from tidemill.exporters import EXPORTERS
from tidemill.steps.table import STEPS

FILES = {
    "__init__.py": '"""The package."""\n',
    "digest.py": "import hashlib\n",
    "errors.py": "",
    "records.py": "from tidemill.digest import Digest\n",
    "exporters/__init__.py": "from tidemill.errors import X\n",
    "exporters/base.py": "from typing import Any\n",
    "exporters/llama.py": "from tidemill.exporters.base import Spec\nimport torch\n",
    "steps/__init__.py": "",
    "steps/export.py": """\
import json
from tidemill import records
from tidemill.exporters import EXPORTERS

def late():
    from tidemill.steps.late import thing
""",
    "steps/late.py": "import tidemill.errors\n",
    "steps/near.py": "from . import export\nfrom .late import thing\nfrom ..digest import Digest\n",
    "steps/ring_a.py": "import tidemill.steps.ring_b\n",
    "steps/ring_b.py": "import tidemill.steps.ring_a\n",
    "unused.py": "1 / 0\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "tidemill"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    code_digest.cache_clear()
    return folder


def digest(package: Path, *roots: str) -> str:
    code_digest.cache_clear()
    return code_digest(roots, package=package)


def test_the_closure_follows_imports_wherever_they_stand(package: Path) -> None:
    found = closure(["tidemill.steps.export"], package=package)
    assert sorted(found) == [
        "tidemill.digest",
        "tidemill.errors",
        "tidemill.exporters",
        "tidemill.records",
        "tidemill.steps.export",
        "tidemill.steps.late",
    ]
    assert found["tidemill.exporters"] == package / "exporters/__init__.py"


def test_relative_imports_are_followed_too(package: Path) -> None:
    found = closure(["tidemill.steps.near"], package=package)
    assert {"tidemill.steps.export", "tidemill.steps.late", "tidemill.digest"} <= set(found)


def test_modules_that_import_each_other_end(package: Path) -> None:
    found = closure(["tidemill.steps.ring_a"], package=package)
    assert sorted(found) == ["tidemill.steps.ring_a", "tidemill.steps.ring_b"]


def test_several_roots_are_one_closure(package: Path) -> None:
    found = closure(["tidemill.exporters.llama", "tidemill.digest"], package=package)
    assert sorted(found) == [
        "tidemill.digest",
        "tidemill.exporters.base",
        "tidemill.exporters.llama",
    ]


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("steps/export.py", True),
        ("steps/late.py", True),
        ("digest.py", True),
        ("exporters/__init__.py", True),
        ("exporters/llama.py", False),
        ("steps/near.py", False),
        ("unused.py", False),
        ("steps/__init__.py", False),
    ],
)
def test_an_edit_counts_for_exactly_the_steps_that_import_the_file(
    package: Path, file: str, changes: bool
) -> None:
    before = digest(package, "tidemill.steps.export")
    with (package / file).open("a", encoding="utf-8") as stream:
        stream.write("# only a comment\n")
    assert (digest(package, "tidemill.steps.export") != before) is changes


def test_the_digest_does_not_depend_on_where_the_package_lies(
    package: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere/tidemill"
    for name, text in FILES.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text, encoding="utf-8")
    assert digest(package, "tidemill.steps.export") == digest(copy, "tidemill.steps.export")


def test_moving_code_between_modules_changes_the_digest(package: Path) -> None:
    before = digest(package, "tidemill.steps.export")
    (package / "errors.py").write_text(FILES["digest.py"])
    (package / "digest.py").write_text(FILES["errors.py"])
    assert digest(package, "tidemill.steps.export") != before


def test_the_working_halves_reach_their_own_code_and_no_orchestrator() -> None:
    for stage, step in STEPS.items():
        found = set(closure(step.code))
        assert set(step.code) <= found, stage
        for never in ("tidemill.execute", "tidemill.mill", "tidemill.cache", "tidemill.store"):
            assert never not in found, f"{stage} would run again after an edit of {never}"


def test_an_edit_of_one_exporter_reruns_no_other_unless_it_imports_it() -> None:
    shared = {
        "cached_lm": {"tidemill.exporters.causal_lm"},
        "cached_gguf": {f"tidemill.exporters.{one}" for one in ("cached_lm", "causal_lm")},
        "cached_llama2c": {
            f"tidemill.exporters.{one}" for one in ("cached_lm", "causal_lm", "llama2c")
        },
        "llama2c": {"tidemill.exporters.causal_lm"},
        "quantized_lm": {"tidemill.exporters.causal_lm"},
        "quantized_cached_lm": {f"tidemill.exporters.{one}" for one in ("cached_lm", "causal_lm")},
        "quantized_cached_llama2c": {
            f"tidemill.exporters.{one}"
            for one in ("cached_llama2c", "cached_lm", "causal_lm", "llama2c")
        },
        "quantized_llama2c": {f"tidemill.exporters.{one}" for one in ("causal_lm", "llama2c")},
        "scheduled_unet": {"tidemill.exporters.diffusers_unet"},
        "sd3_prompt_encoder": {"tidemill.exporters.t5_encoder"},
        "sharktank_llm": {f"tidemill.exporters.{one}" for one in ("cached_lm", "causal_lm")},
    }
    for name, info in EXPORTERS.items():
        found = set(closure((*STEPS["export"].code, info.module)))
        assert info.module in found
        others = {other.module for other in EXPORTERS.values()} - {info.module}
        assert found & others == shared.get(name, set()), name


def test_who_writes_a_tokenizer_has_the_tokenizers_in_its_key() -> None:
    writers = set()
    for name, info in EXPORTERS.items():
        for module in {info.module, *closure((info.module,))}:
            source = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
            if source.is_file() and ".to_str()" in source.read_text(encoding="utf-8"):
                writers.add(name)
    assert {"cached_gguf", "cached_llama2c"} <= writers
    assert not [name for name in writers if "tokenizers" not in EXPORTERS[name].packages]


def test_the_table_of_exporters_is_in_no_key_of_what_they_make() -> None:
    """So that one exporter more makes nothing of others anew; a step finds its module by name."""
    for name, info in EXPORTERS.items():
        assert info.module == f"tidemill.exporters.{name}"
        for stage in ("export", "pack", "reference"):
            assert "tidemill.exporters" not in closure((*STEPS[stage].code, info.module))


def test_packages_on_the_way_to_a_working_half_hold_nothing_to_run() -> None:
    """Importing a module runs the packages above it, which the closure does not count."""
    for package in ("", "steps", "steps/work"):
        tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
        for statement in tree.body:
            docstring = isinstance(statement, ast.Expr)
            version = isinstance(statement, ast.Assign) and (
                ast.unparse(statement.targets[0]) == "__version__"
            )
            assert docstring or version, f"{package or 'tidemill'}: {ast.unparse(statement)}"
