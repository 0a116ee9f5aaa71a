"""What Whisper's two halves share: configuration, OpenAI's checkpoint, and its names for things.

OpenAI published one file a model, a pickle of ``{"dims": …, "model_state_dict": …}`` in float16,
with its own names; transformers publishes safetensors with other names. Both are read, by aliases.
"""

import pickle
import zipfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, WhisperConfig
from transformers.masking_utils import eager_mask

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Spec
from tidemill.exporters.huggingface import configuration_of
from tidemill.exporters.parameters import PIECE, ParameterSource, Shape, open_weights
from tidemill.exporters.torch_exporter import TorchExporter

#: OpenAI's name of each size → transformers' name of the same.
DIMS = {
    "n_mels": "num_mel_bins",
    "n_vocab": "vocab_size",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
#: transformers' name of each part → OpenAI's.
PARTS = {
    "layers": "blocks",
    "self_attn": "attn",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn": "cross_attn",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "final_layer_norm": "mlp_ln",
    "embed_tokens": "token_embedding",
}

#: What transformers knows ``attend`` by.
ATTENTION = "tidemill_whisper"


class OpenAiSource:
    """The tensors of OpenAI's checkpoint file, loaded with ``weights_only=True``, mapped.

    Raises WorkError on a file that is none, and on one of other sizes than ``config`` says.
    """

    def __init__(self, path: Path, *, label: str, config: Any) -> None:
        try:
            loaded = torch.load(
                path, weights_only=True, mmap=zipfile.is_zipfile(path), map_location="cpu"
            )
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise _no_checkpoint(label, str(error)) from error
        parts = loaded if isinstance(loaded, Mapping) else {}
        dims, tensors = parts.get("dims"), parts.get("model_state_dict")
        if not isinstance(dims, Mapping) or not isinstance(tensors, Mapping):
            raise _no_checkpoint(label, "it holds something else")
        if odd := [name for name, one in tensors.items() if not isinstance(one, torch.Tensor)]:
            raise _no_checkpoint(label, f"{odd[0]} is no tensor")
        wrong = [
            f"{name} is {dims.get(name)}, config.json says {ours} {getattr(config, ours)}"
            for name, ours in DIMS.items()
            if dims.get(name) != getattr(config, ours)
        ]
        if wrong:
            raise _fault(
                f"{label} is of another size: {'; '.join(wrong)}",
                hint="take the config.json of the same model",
            )
        self._tensors: dict[str, torch.Tensor] = dict(tensors)

    def shapes(self) -> Mapping[str, Shape]:
        """Every tensor and its shape."""
        return {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The elements of one tensor."""
        yield from self._tensors[name].detach().reshape(-1).split(PIECE)


class WhisperExporter(TorchExporter):
    """One half. Subclasses name it, and say what its module is and takes."""

    #: ``encoder`` or ``decoder``, as both checkpoints call it.
    half: ClassVar[str]
    #: OpenAI's name of the half's last norm.
    last_norm: ClassVar[str]
    #: The manifest's inputs, in order.
    takes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def module(self, config: WhisperConfig) -> Architecture:
        """The half's modules; inputs are of the right names already."""

    def architecture(self, spec: Spec) -> Architecture:
        """The half of config.json's model."""
        names = tuple(item.name for item in spec.inputs)
        if names != self.takes:
            raise _fault(
                f"a Whisper {self.half} takes {', '.join(self.takes)}, not {', '.join(names)}",
                hint="correct `inputs` in the manifest",
            )
        return self.module(whisper_config(spec))

    def weights(self, spec: Spec) -> ParameterSource:
        """OpenAI's one ``.pt`` file, or transformers' safetensors."""
        if len(spec.weights) != 1 or not next(iter(spec.weights)).endswith(".pt"):
            return open_weights(spec.weights, pickle_allowed=spec.pickle_allowed)
        ((label, path),) = spec.weights.items()
        if not spec.pickle_allowed:
            raise _fault(
                f"{label} is a pickle file, and the manifest does not allow it",
                hint="use safetensors, or give a reason under `pickle` in the manifest",
            )
        return OpenAiSource(path, label=label, config=whisper_config(spec))

    def aliases(self, spec: Spec, *, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """The full names in both kinds of checkpoint."""
        theirs = {"layer_norm": self.last_norm, **PARTS}
        if name == "embed_positions.weight":
            openai = "positional_embedding"
        else:
            openai = ".".join(theirs.get(part, part) for part in name.split("."))
        return f"model.{self.half}.{name}", f"{self.half}.{openai}"


def whisper_config(spec: Spec) -> WhisperConfig:
    """The configuration, set to ``attend``. Raises WorkError when it is of another family."""
    config: WhisperConfig = configuration_of(WhisperConfig, spec)
    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
    config._attn_implementation = ATTENTION
    return config


def attend(
    module: nn.Module,  # noqa: ARG001 - transformers calls every attention so
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    """Eager attention whose weights sum to one in float32, as most other families have it.

    Whisper's own takes a softmax of half types, which IREE's CPU backend cannot lower over two
    dynamic dimensions (it asks for 2^59 bytes of stack). In float32 the two are the same.
    """
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None


def first_of(module: nn.Module, **given: Any) -> torch.Tensor:
    """The hidden states that a transformers module returns first."""
    states: torch.Tensor = module(**given, return_dict=False)[0]
    return states


def _no_checkpoint(label: str, why: str) -> WorkError:
    what = f"{label} is not one of OpenAI's Whisper checkpoints (dims and model_state_dict)"
    return _fault(f"{what}: {why.partition(chr(10))[0]}", hint="check the source")


def _fault(message: str, *, hint: str) -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint=hint)
