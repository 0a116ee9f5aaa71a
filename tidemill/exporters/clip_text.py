"""CLIP's text encoder (transformers): ``input_ids`` [batch, tokens] i64 → states of the text.

Option ``outputs``: ``hidden``, the last layer's states [batch, tokens, hidden], ``pooled``, those
of the end token [batch, hidden], or ``both``, in this order. With option ``projection``
(checkpoints of CLIPTextModelWithProjection) the pooled output is [batch, projection_dim].
"""

from typing import ClassVar

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import choice, require_inputs
from tidemill.exporters.huggingface import configuration_of
from tidemill.exporters.torch_exporter import TorchExporter

OUTPUTS = {"hidden": (0,), "pooled": (1,), "both": (0, 1)}


class TextEncoder(nn.Module):
    """Token ids to states. The names of its tensors are those of checkpoints."""

    def __init__(self, config: CLIPTextConfig, *, outputs: tuple[int, ...], projects: bool) -> None:
        super().__init__()
        if projects:
            whole = CLIPTextModelWithProjection._from_config(config, attn_implementation="eager")
            self.text_model = whole.text_model
            self.text_projection = whole.text_projection
        else:
            self.text_model = CLIPTextModel._from_config(config, attn_implementation="eager")
            self.text_projection = nn.Identity()
        self.outputs = outputs

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The chosen outputs."""
        (ids,) = arrays
        states = self.text_model(input_ids=ids, return_dict=True)
        all_outputs = (states.last_hidden_state, self.text_projection(states.pooler_output))
        return tuple(all_outputs[place] for place in self.outputs)


class ClipText(TorchExporter):
    """Architecture from config.json."""

    ignored: ClassVar[tuple[str, ...]] = ("*position_ids",)

    def architecture(self, spec: Spec) -> Architecture:
        """The encoder with the outputs that the options ask for."""
        outputs = OUTPUTS[choice(spec, "outputs", among=tuple(OUTPUTS))]
        projects = bool(spec.options.get("projection", False))
        require_inputs(spec, ("input_ids",))
        config = configuration_of(CLIPTextConfig, spec)
        if projects and outputs == OUTPUTS["hidden"]:
            raise WorkError(
                FailureClass.EXPORT,
                "options.projection changes the pooled output only, and outputs is hidden",
                hint="set `outputs` to pooled or both, or leave `projection` out",
            )
        program = TextEncoder(config, outputs=outputs, projects=projects)
        return Architecture(program=program, named=program)

    def aliases(self, spec: Spec, *, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """Checkpoints of the bare model lack the first part of each name."""
        bare = name.removeprefix("text_model.")
        return (bare,) if bare != name else ()


EXPORTER: Exporter = ClipText()
