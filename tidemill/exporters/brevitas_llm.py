"""Brevitas' quantisation of language models for sharktank: offline, from files alone.

Brevitas reads its text as the data set wikitext-2 of the hub, and takes a folder of that name in
the current folder for it. The calibration text stands there as the split ``train``, the evaluation
text as ``validation`` and ``test``; a blank line ends a record.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import tidemill.exporters.sharktank_tools as tools
from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Spec
from tidemill.exporters.brevitas_arguments import arguments
from tidemill.exporters.llama_config import properties
from tidemill.exporters.sharktank_llm import SharktankLlm, llama_config

Files = Mapping[str, Mapping[str, Path]]

CHECKPOINT, PREFIX, SCRATCH = "checkpoint", "made", "quantising"
_DATA = Path("Salesforce/wikitext")
_SPLITS = {"train": "calibration", "validation": "evaluation", "test": "evaluation"}
_CARD = """---
configs:
- config_name: wikitext-2-raw-v1
  data_files:
{files}
---
"""


def quantise(
    spec: Spec, chosen: Mapping[str, Any], *, files: Files, target: Path
) -> dict[str, Any]:
    """Narrow the checkpoint of ``spec`` as ``chosen`` says, into ``target``. Raises WorkError.

    ``files`` are those of the roles tokenizer, calibration and evaluation. The answer has
    ``perplexity`` of the ``float`` and the ``narrowed`` model, and what made it.
    """
    config = llama_config(spec)
    scratch = Path(SCRATCH)
    scratch.mkdir()
    checkpoint = SharktankLlm().checkpoint(spec, scratch / CHECKPOINT)
    for name, path in files["tokenizer"].items():
        shutil.copyfile(path, checkpoint / Path(name).name)
    write_texts(scratch, files)
    said = arguments(chosen, model=CHECKPOINT, prefix=PREFIX)
    # Everything that the libraries want to keep stays here and goes with this folder.
    os.environ["HF_HOME"] = str((scratch / "huggingface").absolute())
    with chdir(scratch):
        results, shims = tools.quantise(said)
    made = scratch / PREFIX / "dataset.irpa"
    if not made.is_file():
        raise WorkError(
            FailureClass.EXPORT,
            "Brevitas ended without a dataset",
            hint="its log says how far it came",
        )
    tools.complete(made, target, properties=properties(config))
    return {
        "perplexity": {
            "float": float(results["float_ppl"]),
            "narrowed": float(results["quant_ppl"]),
        },
        "arguments": said,
        "shims": shims,
    }


def write_texts(folder: Path, files: Files) -> None:
    """The texts below ``folder`` as Brevitas looks for them. Raises WorkError on an empty one."""
    import pyarrow  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    place = folder / _DATA / "wikitext-2-raw-v1"
    place.mkdir(parents=True)
    for split, role in _SPLITS.items():
        (path,) = files[role].values()
        records = [text for text in path.read_text(encoding="utf-8").split("\n\n") if text.strip()]
        if not records:
            raise WorkError(
                FailureClass.EXPORT,
                f"the {role} text {path.name} is empty",
                hint=f"correct quantize.{role}.text in the manifest",
            )
        table = pyarrow.table({"text": records})
        pyarrow.parquet.write_table(table, place / f"{split}-00000-of-00001.parquet")
    rows = [f"  - split: {one}\n    path: wikitext-2-raw-v1/{one}-*" for one in _SPLITS]
    card = _CARD.format(files="\n".join(rows))
    (folder / _DATA / "README.md").write_text(card, encoding="utf-8")
