"""The failing dispatch of a real compile, cut out and failing alone."""

import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tidemill.bundle import make_bundle
from tidemill.cutting import Cut, cut_out

pytestmark = pytest.mark.toolchain

#: A convolution for which iree-compile 3.13 asks for more shared memory than the chip has.
PROGRAM = """\
func.func @main$async(%image: tensor<1x512x66x66xf16>, %filter: tensor<8x512x3x3xf16>)
    -> tensor<1x8x64x64xf32> {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<1x8x64x64xf32>
  %start = linalg.fill ins(%zero : f32) outs(%empty : tensor<1x8x64x64xf32>)
    -> tensor<1x8x64x64xf32>
  %sum = linalg.conv_2d_nchw_fchw
    ins(%image, %filter : tensor<1x512x66x66xf16>, tensor<8x512x3x3xf16>)
    outs(%start : tensor<1x8x64x64xf32>) -> tensor<1x8x64x64xf32>
  return %sum : tensor<1x8x64x64xf32>
}
"""
FLAGS = ("--iree-hal-target-device=hip", "--iree-rocm-target=gfx942", "--iree-opt-level=O3")


class Folder:
    """A work folder in which commands run."""

    def __init__(self, root: Path, python: Path) -> None:
        self.root = root
        self.compiler = str(python.parent / "iree-compile")
        (root / "in/mlir").mkdir(parents=True)
        (root / "in/mlir/model.mlir").write_text(PROGRAM, encoding="utf-8")
        (root / "tmp").mkdir()

    def run(self, command: Sequence[str]) -> str:
        """The log of ``command``."""
        done = subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, check=False, timeout=300
        )
        return done.stdout + done.stderr

    def compile(self, *flags: str) -> str:
        """The log of a whole compile."""
        return self.run([self.compiler, "in/mlir/model.mlir", *flags, "-o", "/dev/null"])

    def cut(self, log: str, *, flags: Sequence[str] = FLAGS) -> Cut | None:
        """What ``cut_out`` makes of ``log``."""
        return cut_out(self.compiler, flags=flags, log=log, folder=self.root, run=self.run)


@pytest.fixture
def folder(tmp_path: Path, toolchain_python: Path) -> Folder:
    return Folder(tmp_path, toolchain_python)


def test_the_dispatch_that_fails_is_cut_out_and_fails_alone(folder: Folder) -> None:
    log = folder.compile(*FLAGS)
    cut = folder.cut(log)
    assert cut is not None, log
    assert cut.file == "dispatch/main$async_dispatch_0.mlir"
    assert cut.size == (folder.root / cut.file).stat().st_size < len(PROGRAM) * 10
    assert "exceeded the limit of 65536 bytes" in folder.run(cut.command)
    assert f"{cut.file} (" in cut.hint("a" * 64)
    assert "tidemill log aaaaaaaaaaaa --bundle FOLDER" in cut.hint("a" * 64)
    data = make_bundle(
        key="k", parts={}, command=["c"], log=log.encode(), folder=folder.root, cut=cut
    )
    unpacked = folder.root / "unpacked"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(unpacked, filter="data")
    assert {path.name for path in (unpacked / "dispatch").iterdir()} == {
        Path(cut.file).name, "command.txt", "log.txt",
    }  # fmt: skip
    pasted = subprocess.run(
        ["sh", "dispatch/command.txt"], cwd=unpacked, capture_output=True, text=True, check=False
    )
    assert "exceeded the limit of 65536 bytes" in pasted.stderr


def test_what_does_not_fail_alone_is_no_cut(folder: Folder) -> None:
    log = folder.compile(*FLAGS)
    assert folder.cut(log, flags=(*FLAGS, "--iree-codegen-llvmgpu-use-igemm=false")) is None


def test_an_error_outside_of_every_dispatch_has_no_cut(folder: Folder) -> None:
    assert folder.cut("in/mlir/model.mlir:5:10: error: failed to legalize operation") is None
