"""The three text encoders of Stable Diffusion 3 as one program, joined as its pipeline does it.

Inputs, token ids i64: ``input_ids`` of CLIP-L and ``input_ids_2`` of CLIP-G [batch, 77] and
``input_ids_3`` of T5 [batch, tokens]. Outputs: states [batch, 77 + tokens, width of T5] and pooled
states [batch, width of CLIP-L + width of CLIP-G].

With option ``guidance`` the negative prompts are encoded too: three further inputs,
``negative_input_ids``, ``negative_input_ids_2`` and ``negative_input_ids_3``, and twice the rows in
both outputs, those of the negative prompts first.

Files lie in ``text_encoder``, ``text_encoder_2`` and ``text_encoder_3``, see several.py.
"""

from typing import ClassVar

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import require_inputs
from tidemill.exporters.huggingface import configuration_of
from tidemill.exporters.several import SeveralExporter, part_of
from tidemill.exporters.t5_encoder import t5_of

CLIP_L, CLIP_G, T5 = FOLDERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
INPUTS = ("input_ids", "input_ids_2", "input_ids_3")
NEGATIVE = tuple(f"negative_{name}" for name in INPUTS)


class PromptEncoder(nn.Module):
    """Token ids to what the transformer takes."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.text_encoder = _clip_of(part_of(spec, CLIP_L))
        self.text_encoder_2 = _clip_of(part_of(spec, CLIP_G))
        self.text_encoder_3 = t5_of(part_of(spec, T5))

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States and pooled states."""
        prompts, negatives = arrays[: len(INPUTS)], arrays[len(INPUTS) :]
        if negatives:
            prompts = tuple(torch.cat(both) for both in zip(negatives, prompts, strict=True))
        first, second, third = prompts
        clips = (
            self.text_encoder(input_ids=first, output_hidden_states=True),
            self.text_encoder_2(input_ids=second, output_hidden_states=True),
        )
        words = self.text_encoder_3(input_ids=third).last_hidden_state
        # The last layer is skipped, as in training.
        narrow = torch.cat([clip.hidden_states[-2] for clip in clips], -1)
        wide = nn.functional.pad(narrow, (0, words.shape[-1] - narrow.shape[-1]))
        pooled = torch.cat([clip.text_embeds for clip in clips], -1)
        return torch.cat([wide, words], 1), pooled


class Sd3PromptEncoder(SeveralExporter):
    """Architecture from three files config.json."""

    folders: ClassVar[tuple[str, ...]] = FOLDERS
    ignored: ClassVar[tuple[str, ...]] = ("*position_ids",)

    def architecture(self, spec: Spec) -> Architecture:
        """The three encoders behind the declared inputs."""
        guidance = bool(spec.options.get("guidance", False))
        require_inputs(spec, (*INPUTS, *NEGATIVE) if guidance else INPUTS)
        program = PromptEncoder(spec)
        return Architecture(program=program, named=program)


def _clip_of(spec: Spec) -> nn.Module:
    model: nn.Module = CLIPTextModelWithProjection._from_config(
        configuration_of(CLIPTextConfig, spec), attn_implementation="eager"
    )
    return model


EXPORTER: Exporter = Sd3PromptEncoder()
