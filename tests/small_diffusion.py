"""Configurations of Stable Diffusion's components, small: the same classes, a few blocks."""

from typing import Any

UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": 2,
    "block_out_channels": [16, 32],
    "cross_attention_dim": 16,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": 4,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [16, 32],
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": 8,
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
}
TEXT: dict[str, Any] = {
    "model_type": "clip_text_model",
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
    "hidden_act": "quick_gelu",
    "hidden_size": 16,
    "intermediate_size": 32,
    "max_position_embeddings": 7,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "projection_dim": 8,
    "vocab_size": 50,
}
