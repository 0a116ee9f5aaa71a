"""Downstream suites import tidemill.client at every start: it may load only what it needs."""

import json
import subprocess
import sys

HEAVY = {
    "torch", "luigi", "iree", "boto3", "botocore", "pydantic", "yaml", "jinja2", "numpy",
    "transformers", "huggingface_hub", "psutil", "rich", "click", "asyncio", "requests", "urllib3",
    "tuf", "securesystemslib", "cryptography", "pytest", "ssl", "http", "email", "concurrent",
}  # fmt: skip

ALLOWED = {
    "tidemill",
    "tidemill.address",
    "tidemill.channels",
    "tidemill.digest",
    "tidemill.errors",
    "tidemill.records",
}


def modules_loaded_by(statement: str) -> set[str]:
    """The names in sys.modules of a new interpreter after ``statement``."""
    program = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout))


def test_the_client_loads_no_heavy_package() -> None:
    tops = {name.partition(".")[0] for name in modules_loaded_by("import tidemill.client")}
    assert "msgspec" in tops
    assert tops & HEAVY == set()


def test_the_client_loads_only_its_own_rooms_of_tidemill() -> None:
    loaded = modules_loaded_by("import tidemill.client")
    ours = {name for name in loaded if name.partition(".")[0] == "tidemill"}
    rooms = ("tidemill.client", "tidemill.store")
    assert {name for name in ours if not name.startswith(rooms)} == ALLOWED
    assert "tidemill.store.verified" not in ours


def test_opening_a_store_loads_nothing_more() -> None:
    statement = "import tidemill.client; from tidemill.store import open_store"
    before = modules_loaded_by(statement)
    assert modules_loaded_by(f"{statement}; open_store('file:///nowhere')") == before


def test_only_who_reads_over_the_web_loads_its_modules() -> None:
    statement = "from tidemill.store import open_store; open_store('https://example.org/store')"
    assert {"ssl", "http.client"} <= modules_loaded_by(statement)


def test_importing_tidemill_loads_none_of_its_modules() -> None:
    loaded = modules_loaded_by("import tidemill")
    assert {name for name in loaded if name.startswith("tidemill.")} == set()
