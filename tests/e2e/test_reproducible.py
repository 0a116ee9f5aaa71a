"""The same manifests give the same bytes, in whatever folder and order they are built."""

import pytest

from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain


def test_two_runs_in_different_folders_give_the_same_bytes_keys_and_release(
    template: Workbench, fresh: Workbench
) -> None:
    assert fresh.root != template.root
    fresh.call("run", "small", "--workers", "1", "--no-release")
    made = fresh.outputs()
    kinds = {name.rpartition(".")[2] for name in made}
    assert kinds == {"onnx", "mlir", "irpa", "npy", "json", "vmfb"}
    assert made == template.outputs()
    assert list(fresh.files("actions")) == list(template.files("actions"))
    fresh.call("release", "small")
    assert fresh.files("releases") == template.files("releases")
