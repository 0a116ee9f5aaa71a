"""What the reading commands say in a checkout in which nothing was built."""

from pathlib import Path

import pytest

from tests.unit.test_client_cli import call

NOTHING = "error: nothing was built in this checkout yet\n  make smoke (or tidemill run smoke)\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "manifests").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("show", "minilm"),
        ("verify",),
        ("channel", "list"),
        ("log", "minilm/encoder/f32/cpu"),
        ("repro", "0" * 64),
        ("pull", "minilm", "--channel", "smoke", "--to", "out"),
        ("diff", "smoke@1", "smoke@2"),
    ],
)
def test_nobody_named_the_store_so_nobody_is_told_to_check_the_name(
    checkout: Path, arguments: tuple[str, ...]
) -> None:
    assert call(checkout, *arguments, expect=2).stderr == NOTHING


def test_a_store_that_was_named_is_to_be_checked(checkout: Path) -> None:
    missing = "error: there is no store at gone\n  check --store or TIDEMILL_STORE, and mounts\n"
    assert call(checkout, "ls", "--store", "gone", expect=2).stderr == missing
    assert call(checkout, "log", "0" * 64, store="gone", expect=2).stderr == missing


def test_the_pipeline_that_never_ran_is_named_in_the_command(checkout: Path) -> None:
    assert call(checkout, "status", "smoke", expect=2).stderr == (
        "error: no run of pipeline smoke on this machine\n  Run one: tidemill run smoke\n"
    )
