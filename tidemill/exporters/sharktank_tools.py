"""sharktank's and Brevitas' own programs, run in this process with the shims that they need.

Both are command lines and are called as such. They look up nothing on a network.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidemill.exporters.sharktank_shims import (
    EQUALISED_LAYERS,
    FLOAT_ATTENTION,
    LAYER_BIASES,
    MLIR_ISINSTANCE,
    QUANTISED_ATTENTION,
    apply,
)

#: What a flag of Brevitas needs, so that an export without it depends on no repair.
_NEEDED = {
    "--quant-sdpa": QUANTISED_ATTENTION,
    "--act-equalization": EQUALISED_LAYERS,
    "--bias-corr": LAYER_BIASES,
}
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


def import_checkpoint(folder: Path, target: Path) -> Path:
    """config.json and model.safetensors of ``folder`` as a dataset at ``target``, which it gives.

    Values become float32, which is what sharktank computes Llamas in.
    """
    import torch  # noqa: PLC0415
    from sharktank.utils.hf import import_hf_dataset  # noqa: PLC0415

    import_hf_dataset(
        folder / "config.json",
        [folder / "model.safetensors"],
        output_irpa_file=target,
        target_dtype=torch.float32,
    )
    return target


def complete(source: Path, target: Path, *, properties: Mapping[str, Any]) -> int:
    """Copy a dataset with ``properties`` set; the number of its tensors."""
    from sharktank.types import Dataset  # noqa: PLC0415

    dataset = Dataset.load(source, file_type="irpa")
    dataset.properties.update(properties)
    dataset.save(target)
    return len(dataset.root_theta.flatten())


def export(arguments: Sequence[str]) -> list[str]:
    """Run sharktank's export of paged language models; the names of the shims it had."""
    shims = apply((MLIR_ISINSTANCE, FLOAT_ATTENTION))
    from sharktank.examples import export_paged_llm_v1 as program  # noqa: PLC0415

    with command_line("export_paged_llm_v1", arguments):
        program.main()
    return shims


def quantise(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Run Brevitas' post-training quantisation of language models.

    The results of its evaluation, and the names of the shims it had.
    """
    shims = apply([shim for flag, shim in _NEEDED.items() if flag in arguments])
    with command_line("brevitas_ptq_llm", arguments):
        from brevitas_examples.llm.llm_args import create_args_parser  # noqa: PLC0415
        from brevitas_examples.llm.main import quantize_llm  # noqa: PLC0415

        # As its own main does: what its parser does not know is the trainer's, and checked there.
        known, more = create_args_parser().parse_known_args(list(arguments))
        results, _ = quantize_llm(known, more)
    return results, shims


@contextmanager
def command_line(name: str, arguments: Sequence[str]) -> Iterator[None]:
    """``sys.argv`` as if ``name`` had been started with ``arguments``, and no network."""
    before = sys.argv
    sys.argv = [name, *arguments]
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    try:
        yield
    finally:
        sys.argv = before
