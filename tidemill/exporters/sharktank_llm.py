"""Llamas through sharktank: checkpoint → IRPA dataset → MLIR with a paged cache.

A component's inputs are those of a sample: ``prompt`` [batch, seq], ``lengths`` [batch] and
``continuation`` [batch, steps], all i64. The MLIR has ``prefill_bsN`` and ``decode_bsN`` for the
batch N of the variant; beside it lies the ``config.json`` that servers read, from which the driver
``paged_lm`` knows the cache. Export reads the packed dataset, which says what is quantised.

The reference is transformers' own Llama: with the checkpoint's values, or with those of a quantised
dataset (``quantised_llama``), which it reads without any code of sharktank. Its outputs are the
logits of all prompts' tokens [tokens, vocabulary], row after row without padding, and those of the
continuation [batch, steps, vocabulary].
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture, build
from tidemill.exporters.base import Array, Exporter, Spec
from tidemill.exporters.cached_lm import Eager
from tidemill.exporters.cached_program import Conversation
from tidemill.exporters.huggingface import config_file, model_of
from tidemill.exporters.llama_config import MODEL_TYPE, normalised, properties
from tidemill.exporters.quantised_llama import narrow, widened
from tidemill.exporters.shark_dataset import Dataset, read_dataset
from tidemill.exporters.sharktank_spec import (
    element_types,
    export_arguments,
    paged_of,
)
from tidemill.exporters.torch_exporter import TorchExporter
from tidemill.exporters.trace import DTYPES

DATASET, PACKED, CONFIG = "dataset.irpa", "model.irpa", "config.json"
#: How often the noise of a narrowed model is drawn, beside the plain run.
DRAWS = 24
#: In last places: as far as sums in another order take the results of the model that narrows none.
ROUNDING = 8


class Answers(Conversation):
    """A conversation whose first output has the tokens that there are, and no padding."""

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See the module's text."""
        prompt, lengths, _ = arrays
        first, then = super().forward(*arrays)
        there = torch.arange(prompt.shape[1])[None, :] < lengths[:, None]
        return first[there], then


class Narrowed(Eager):
    """A conversation with a model that narrows its activations; see ``steps.work.noise``."""

    def draws(self, arrays: Sequence[Array]) -> Iterator[list[Array]]:
        """The outputs of ``arrays`` with every embedding off by ROUNDING, up or down."""
        weight = self._model.named.get_input_embeddings().weight
        plain, chance = weight.data, torch.Generator().manual_seed(1)
        off = ROUNDING * torch.finfo(plain.dtype).eps
        try:
            for _ in range(DRAWS):
                signs = torch.randint(2, plain.shape, generator=chance).to(plain.dtype) * 2 - 1
                weight.data = plain * (1 + signs * off)
                yield self(arrays)
        finally:
            weight.data = plain

    def unnarrowed(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs of ``arrays`` if activations were not narrowed; weights are as they are."""
        with widened(self._model.named):
            return self(arrays)


class SharktankLlm(TorchExporter):
    """See the module's text."""

    def architecture(self, spec: Spec) -> Architecture:
        """Transformers' Llama of the configuration as it came.

        What is normalised for sharktank has no part in the reference: a mistake there shows.
        """
        llama_config(spec)
        config = CONFIG_MAPPING[MODEL_TYPE].from_dict(raw_config(spec))
        model = model_of(AutoModelForCausalLM, config)
        return Architecture(program=Answers(model), named=model)

    def pack(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """The dataset of the checkpoint, or of quantise, with the properties that it must have."""
        config = llama_config(spec)
        import tidemill.exporters.sharktank_tools as tools  # noqa: PLC0415

        if spec.quantised:
            source = spec.quantised[DATASET]
        else:
            checkpoint = self.checkpoint(spec, Path("checkpoint"))
            source = tools.import_checkpoint(checkpoint, Path("imported.irpa"))
        entries = tools.complete(source, target, properties=properties(config))
        return {"entries": entries, "irpa_bytes": target.stat().st_size}

    def export(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """MLIR and config.json of the packed dataset, by sharktank's own program."""
        paged = paged_of(spec)
        irpa = spec.packed[PACKED]
        dataset = read_dataset(irpa)
        types = element_types(spec, narrowed=narrowed_attention(dataset))
        files = {"irpa": irpa, "mlir": target, "config": target.with_name(CONFIG)}
        import tidemill.exporters.sharktank_tools as tools  # noqa: PLC0415

        shims = tools.export(export_arguments(paged, types, files))
        _settle(files["config"])
        return {
            "parameters": len(dataset.tensors),
            "quantised": len(dataset.narrowed),
            "types": types,
            "equal_lengths": paged.equal_lengths,
            "shims": shims,
            "mlir_bytes": target.stat().st_size,
        }

    def program(self, spec: Spec, precision: str) -> Eager:
        """The independent program, see the module's text."""
        if not spec.quantised:
            model, external = self._built(spec, precision)
            self._fill(spec, external)
            return Eager(model, precision=precision)
        model = build(lambda: self.architecture(spec), dtype=DTYPES[precision])
        narrow(model.named, read_dataset(spec.quantised[DATASET]), dtype=DTYPES[precision])
        return Narrowed(model, precision=precision)

    def checkpoint(self, spec: Spec, folder: Path) -> Path:
        """A folder with config.json and model.safetensors as transformers and sharktank read them.

        Real safetensors are linked; values from a seed are written. Raises WorkError.
        """
        from safetensors.torch import save_file  # noqa: PLC0415

        folder.mkdir()
        text = json.dumps(llama_config(spec), indent=1, sort_keys=True)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        names = [Path(name).name for name in spec.weights]
        if spec.synthetic is None and names == ["model.safetensors"]:
            (weights,) = spec.weights.values()
            (folder / names[0]).symlink_to(weights.absolute())
            return folder
        model, external = self._built(spec, spec.dtype)
        self._fill(spec, external)
        tensors = {name: tensor.contiguous() for name, tensor in model.named.state_dict().items()}
        save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
        return folder


def llama_config(spec: Spec) -> dict[str, Any]:
    """The normalised config.json of ``spec``. Raises WorkError when it cannot be imported."""
    return normalised(raw_config(spec))


def raw_config(spec: Spec) -> dict[str, Any]:
    """The config.json of ``spec`` as it came. Raises WorkError when it is none."""
    try:
        raw = json.loads(config_file(spec.config).read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkError(
            FailureClass.EXPORT, f"config.json is not JSON: {error}", hint="check the source"
        ) from error
    if not isinstance(raw, dict):
        raise WorkError(
            FailureClass.EXPORT, "config.json is no mapping of names", hint="check the source"
        )
    return raw


def narrowed_attention(dataset: Dataset) -> str:
    """The type to which keys and values are narrowed, as sharktank calls it; "" for none."""
    found = {
        str(one.dtype).removeprefix("torch.")
        for name, one in dataset.quantisers.items()
        if name.endswith(("attn_k.q_output", "attn_v.q_output"))
    }
    return found.pop() if len(found) == 1 else ""


def _settle(config: Path) -> None:
    """config.json as text that does not depend on the order in which sharktank names things."""
    raw = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(raw, indent=1, sort_keys=True) + "\n", encoding="utf-8")


EXPORTER: Exporter = SharktankLlm()
