"""A Llama configuration as sharktank reads it: what is renamed, what is refused, and why."""

import json
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.llama_config import normalised, properties

OWN = Path(__file__).parents[2] / "manifests/models/tiny-llama-paged/config.json"
NEW: dict[str, Any] = json.loads(OWN.read_text(encoding="utf-8"))
#: The same model as transformers 4 wrote it.
OLD = {
    **{name: value for name, value in NEW.items() if name not in ("rope_parameters", "dtype")},
    "rope_theta": 500000.0,
    "rope_scaling": None,
    "torch_dtype": "float32",
}


def refusal(**changes: Any) -> WorkError:
    with pytest.raises(WorkError) as raised:
        normalised({**NEW, **changes})
    return raised.value


def test_both_generations_of_transformers_say_the_same_in_the_end() -> None:
    assert normalised(NEW) == normalised(OLD)


def test_the_base_of_the_rotary_embedding_gets_the_name_that_sharktank_knows() -> None:
    assert normalised(NEW)["rope_theta"] == 500000.0
    assert properties(normalised(NEW))["llama.rope.freq_base"] == 500000.0


def test_a_silent_configuration_means_what_transformers_takes_it_to_mean() -> None:
    silent = {name: value for name, value in NEW.items() if name != "rope_parameters"}
    assert normalised(silent)["rope_theta"] == 10000.0


def test_sizes_that_may_be_left_out_are_filled_in() -> None:
    bare = {
        name: value
        for name, value in NEW.items()
        if name not in ("head_dim", "num_key_value_heads")
    }
    filled = normalised(bare)
    assert (filled["head_dim"], filled["num_key_value_heads"]) == (64, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tie_word_embeddings": True}, "write a copy of model.embed_tokens.weight as lm_head"),
        ({"attention_bias": True}, "attention_bias: sharktank's Llama has no biases"),
        ({"mlp_bias": True}, "mlp_bias: sharktank's Llama has no biases"),
        ({"hidden_act": "gelu"}, "hidden_act: gelu"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config: the checkpoint"),
        ({"model_type": "qwen2"}, "it is a qwen2"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "only LlamaForCausalLM"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"num_attention_heads": 0}, "num_attention_heads is missing or no whole number"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is missing or no whole number"),
        ({"head_dim": False}, "head_dim is missing or no whole number"),
        ({"hidden_size": 128.5}, "hidden_size is missing or no whole number"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is missing or no number above zero"),
        ({"rope_parameters": []}, "rope_parameters: [] is not one mapping"),
        ({"num_key_value_heads": "two"}, "num_key_value_heads is missing or no whole number"),
        ({"rope_scaling": "linear"}, "rope_scaling: 'linear' is not one mapping"),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 5e5}}},
            "rope_parameters: {'full_attention': {'rope_theta': 500000.0}} is not one mapping",
        ),
        (
            {"rope_parameters": {"rope_theta": "500000"}},
            "rope_parameters.rope_theta: '500000' is no number above zero",
        ),
        ({"rope_theta": True}, "rope_theta: True is no number above zero"),
        (
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}},
            "rope_parameters: llama3 scaling, which sharktank ignores",
        ),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling: linear scaling"),
        ({"rope_theta": 10000.0}, "rope_theta is given as 10000 and 500000"),
        (
            {"rope_parameters": {"rope_theta": 5e5, "partial_rotary_factor": 0.5}},
            "partial_rotary_factor",
        ),
    ],
)
def test_what_would_be_misread_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    error = refusal(**changes)
    assert said in error.message
    assert error.failure is FailureClass.EXPORT
    assert "cached_lm" in error.hint


def test_everything_wrong_is_said_at_once() -> None:
    error = refusal(attention_bias=True, tie_word_embeddings=True)
    assert error.message.count("\n- ") == 2
