"""Configurations of Stable Diffusion XL's components, small: the same classes, a few blocks."""

from typing import Any

from tests.small_diffusion import TEXT

TEXT_2: dict[str, Any] = {
    **TEXT,
    "hidden_act": "gelu",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "projection_dim": 12,
}
UNET_XL: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "attention_head_dim": [2, 4],
    "block_out_channels": [16, 32],
    "cross_attention_dim": TEXT["hidden_size"] + TEXT_2["hidden_size"],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "projection_class_embeddings_input_dim": TEXT_2["projection_dim"] + 6 * 8,
    "sample_size": 4,
    "transformer_layers_per_block": [1, 2],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
EULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
ANCESTRAL: dict[str, Any] = {
    **EULER,
    "_class_name": "EulerAncestralDiscreteScheduler",
    "timestep_spacing": "trailing",
}
