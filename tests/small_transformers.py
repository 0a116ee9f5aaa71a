"""Configurations of SD3's and FLUX.1's components, small: the same classes, every kind of block."""

from typing import Any

#: Its first layer attends twice, its last gives nothing for the text.
SD35: dict[str, Any] = {
    "_class_name": "SD3Transformer2DModel",
    "attention_head_dim": 8,
    "caption_projection_dim": 32,
    "dual_attention_layers": [0],
    "in_channels": 16,
    "joint_attention_dim": 48,
    "num_attention_heads": 4,
    "num_layers": 2,
    "out_channels": 16,
    "patch_size": 2,
    "pooled_projection_dim": 40,
    "pos_embed_max_size": 12,
    "qk_norm": "rms_norm",
    "sample_size": 8,
}
SD3: dict[str, Any] = {**SD35, "dual_attention_layers": [], "qk_norm": None}
DEV: dict[str, Any] = {
    "_class_name": "FluxTransformer2DModel",
    "attention_head_dim": 16,
    "axes_dims_rope": [4, 6, 6],
    "guidance_embeds": True,
    "in_channels": 16,
    "joint_attention_dim": 48,
    "num_attention_heads": 3,
    "num_layers": 1,
    "num_single_layers": 1,
    "patch_size": 1,
    "pooled_projection_dim": 24,
}
SCHNELL: dict[str, Any] = {**DEV, "guidance_embeds": False}
CLIP_L: dict[str, Any] = {
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
    "projection_dim": 16,
    "vocab_size": 50,
}
CLIP_G: dict[str, Any] = {
    **CLIP_L,
    "hidden_act": "gelu",
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_attention_heads": 3,
    "projection_dim": 24,
}
T5: dict[str, Any] = {
    "model_type": "t5",
    "d_ff": 64,
    "d_kv": 8,
    "d_model": 48,
    "feed_forward_proj": "gated-gelu",
    "num_heads": 6,
    "num_layers": 2,
    "tie_word_embeddings": False,
    "vocab_size": 60,
}
