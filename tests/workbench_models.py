"""What a workbench is made of: a targets file, manifests of tiny models, pipelines."""

#: Run under the toolchain's interpreter, which has onnx: path, seed, width.
MAKE_ONNX = """
import sys, numpy
from onnx import TensorProto, helper, numpy_helper

path, seed, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random = numpy.random.default_rng(seed)
weight = random.standard_normal((8, width)).astype(numpy.float32)
bias = random.standard_normal(width).astype(numpy.float32)
graph = helper.make_graph(
    [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["y"]),
    ],
    "net",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
    [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
with open(path, "wb") as stream:
    stream.write(model.SerializeToString(deterministic=True))
"""

TARGETS = """\
targets:
  cpu:
    device: local-task
    needs: none
    flags:
      - versions: ">=3.9"
        flags:
          - --iree-hal-target-device=local
          - --iree-hal-local-target-device-backends=llvm-cpu
          - --iree-llvmcpu-target-cpu=x86-64-v3
          - --iree-opt-level=O1
  gfx942:
    device: hip
    needs: amdgpu
    chip: gfx942
    flags:
      - versions: ">=3.11"
        flags: [--iree-hal-target-device=hip, --iree-rocm-target=gfx942, --iree-opt-level=O3]
"""

_PIPELINE = """\
from pipelines.base import Pipeline
from tidemill.policy import Policy

PIPELINE = Pipeline(
    name="{name}",
    about="for a test",
    models={models},
    channel="{channel}",
    policy=Policy(required=("*/*/*/cpu",), on_failure="block"),
)
"""
PIPELINES = {
    name: _PIPELINE.format(name=name, models=models, channel=channel)
    for name, models, channel in (
        ("small", ("tiny", "twin"), "small"),
        ("one", ("tiny",), ""),
        ("language", ("lm",), "language"),
        ("nightly", None, ""),
    )
}

_ONNX = """\
name: {name}
title: A layer of a network
license: CC0-1.0
sources:
  files:
    from: file:{name}
    files:
      model.onnx: {{path: model.onnx, sha256: {digest}}}
components:
  net:
    exporter: onnx
    weights: [files/model.onnx]
    inputs:
      x: {{dtype: f32, shape: [batch, 8]}}
    dimensions:
      batch: {{min: 1, max: 64}}
    dtypes: [f32]
    targets: {targets}
    samples:
      - name: noise
        dims: {{batch: 3}}
        inputs:
          x: {{kind: normal, seed: 1, mean: 0.0, std: 1.0}}
"""


def onnx_manifest(name: str, digest: str) -> str:
    """``tiny`` goes to both targets, every other one to the host's own processor only."""
    targets = "[cpu, gfx942]" if name == "tiny" else "[cpu]"
    return _ONNX.format(name=name, digest=digest, targets=targets)


LANGUAGE_CONFIG = """\
{
 "model_type": "llama", "architectures": ["LlamaForCausalLM"],
 "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
 "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 32,
 "max_position_embeddings": 32, "tie_word_embeddings": false
}
"""
_LANGUAGE = """\
name: lm
title: A language model of a few thousand synthetic weights
license: CC0-1.0
sources:
  config:
    from: file:lm
    files:
      config.json: {{path: config.json, sha256: {digest}}}
  values:
    from: synthetic:seed=7
    scale: 0.1
components:
  logits:
    exporter: causal_lm
    config: [config/config.json]
    weights: [values]
    inputs:
      input_ids: {{dtype: i64, shape: [1, seq]}}
    dimensions:
      seq: {{min: 2, max: 31}}
    dtypes: [f32]
    targets: [cpu]
    samples:
      - name: words
        dims: {{seq: 5}}
        inputs:
          input_ids: {{kind: values, values: [[1, 9, 4, 25, 31]]}}
        greedy: {{tokens: 8}}
    numerics:
      logits: [output0]
"""


def language_manifest(digest: str) -> str:
    """A Llama of one layer."""
    return _LANGUAGE.format(digest=digest)
