"""Both text encoders of Stable Diffusion XL as one program (transformers' CLIP, twice).

Inputs, token ids i64 [batch, tokens]: ``input_ids`` of the first tokenizer and ``input_ids_2`` of
the second. Outputs: the states of the text [batch, tokens, both hidden sizes] (the second-last
layers of both, side by side) and the pooled state [batch, projection_dim] (of the second encoder).

With option ``guidance`` the negative prompts are encoded too: two further inputs,
``negative_input_ids`` and ``negative_input_ids_2``, and twice the rows in both outputs, those of
the negative prompts first. Where model_index.json says ``force_zeros_for_empty_prompt``, diffusers
takes zeros for an image without a negative prompt; that is for the caller to do.

Files lie in ``text_encoder/`` and ``text_encoder_2/``, as in the checkpoint.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import require_inputs
from tidemill.exporters.huggingface import configuration_of
from tidemill.exporters.parameters import ParameterSource, Shape
from tidemill.exporters.several import SeveralExporter, part_of

FIRST, SECOND = "text_encoder", "text_encoder_2"
INPUTS = ("input_ids", "input_ids_2")
NEGATIVE = tuple(f"negative_{name}" for name in INPUTS)


class StatesEncoder(nn.Module):
    """The first encoder up to its second-last layer; the rest of it would not be used."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.text_model = CLIPTextModel._from_config(config, attn_implementation="eager")
        del self.text_model.encoder.layers[-1]
        self.text_model.final_layer_norm = nn.Identity()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """States [batch, tokens, hidden]."""
        states: torch.Tensor = self.text_model(input_ids=ids).last_hidden_state
        return states


class PooledEncoder(nn.Module):
    """The second encoder, whole."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        whole = CLIPTextModelWithProjection._from_config(config, attn_implementation="eager")
        self.text_model = whole.text_model
        self.text_projection = whole.text_projection

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The second-last layer's states and the projected state of the end token."""
        states = self.text_model(input_ids=ids, output_hidden_states=True)
        return states.hidden_states[-2], self.text_projection(states.pooler_output)


class PromptEncoder(nn.Module):
    """Token ids to the conditions of the UNet."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.text_encoder = first
        self.text_encoder_2 = second

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The states of both encoders and the pooled state of the second."""
        ids, ids_2, *negative = arrays
        if negative:
            ids, ids_2 = torch.cat([negative[0], ids]), torch.cat([negative[1], ids_2])
        states = self.text_encoder(ids)
        more, pooled = self.text_encoder_2(ids_2)
        return torch.cat([states, more], -1), pooled


class Without:
    """A source less the tensors whose names match one of ``patterns``."""

    def __init__(self, source: ParameterSource, *, patterns: Sequence[str]) -> None:
        self._source = source
        self._patterns = patterns

    def shapes(self) -> Mapping[str, Shape]:
        """The tensors that are left."""
        return {
            name: shape
            for name, shape in self._source.shapes().items()
            if not any(fnmatchcase(name, pattern) for pattern in self._patterns)
        }

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The elements of one tensor."""
        return self._source.pieces(name)


class SdxlPromptEncoder(SeveralExporter):
    """Architecture from the config.json of each encoder."""

    folders: ClassVar[tuple[str, ...]] = (FIRST, SECOND)
    ignored: ClassVar[tuple[str, ...]] = ("*position_ids",)

    def architecture(self, spec: Spec) -> Architecture:
        """Both encoders behind the declared inputs."""
        guidance = bool(spec.options.get("guidance", False))
        require_inputs(spec, (*INPUTS, *NEGATIVE) if guidance else INPUTS)
        program = PromptEncoder(
            StatesEncoder(_clip(spec, FIRST)), PooledEncoder(_clip(spec, SECOND))
        )
        return Architecture(program=program, named=program)

    def weights(self, spec: Spec) -> ParameterSource:
        """Both checkpoints; of the first, without what ``StatesEncoder`` leaves out."""
        last = _clip(spec, FIRST).num_hidden_layers - 1
        idle = (f"{FIRST}.*encoder.layers.{last}.*", f"{FIRST}.*final_layer_norm.*")
        return Without(super().weights(spec), patterns=idle)

    def part_aliases(self, spec: Spec, *, folder: str, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """Checkpoints of the bare model lack the first part of each name."""
        bare = name.removeprefix("text_model.")
        return (bare,) if bare != name else ()


def _clip(spec: Spec, folder: str) -> Any:
    return configuration_of(CLIPTextConfig, part_of(spec, folder))


EXPORTER: Exporter = SdxlPromptEncoder()
