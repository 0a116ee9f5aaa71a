"""``quantize:`` of a component: how Brevitas narrows a checkpoint for sharktank.

What the pair cannot do is refused here by name and with the reason, not found out by a run.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator

from tidemill.manifest.part import Part

#: Algorithms that exist in Brevitas and do not survive the export to sharktank, without the signs
#: between words, of which everybody has others: SVDQuant, svd_quant, svd-quant.
UNSUPPORTED = {
    "quarot": "standalone Hadamard rotations have no layer in sharktank; use rotation: fused",
    "svdquant": "its low-rank branch beside each layer has no counterpart in sharktank",
    "learnedround": "Brevitas does not export learned rounding to sharktank",
}
_ROTATIONS = (
    "'{}' leaves standalone Hadamard rotations (QuaRot/SpinQuant) in the model, for which sharktank"
    " has no layer: only 'fused' is supported"
)
_BETWEEN = str.maketrans("", "", "-_ ")
_DYNAMIC = "dynamic activation quantisation is not supported by sharktank: scales are static"
_GROUPS = "scales per group cannot be reached from Brevitas' export to sharktank"

Format = Literal["int8", "fp8_e4m3_fnuz"]
_Names = Annotated[tuple[str, ...], Strict(False), Field(min_length=1)]


class WeightsPart(Part):
    """Weights: their format, and whether a tensor or each of its rows has a scale."""

    format: Format
    granularity: Literal["per_tensor", "per_channel"] = "per_tensor"

    @model_validator(mode="before")
    @classmethod
    def _groups(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("granularity") == "per_group":
            raise ValueError(_GROUPS)
        return raw


class ActivationsPart(Part):
    """Inputs of linear layers: symmetric, one static scale for each, found by calibration."""

    format: Format
    scale: Literal["static"] = "static"

    @model_validator(mode="before")
    @classmethod
    def _dynamic(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("scale") == "dynamic":
            raise ValueError(_DYNAMIC)
        return raw


class CalibrationPart(Part):
    """Text to find scales with: ``samples`` sequences of ``length`` tokens, drawn with ``seed``."""

    text: str
    samples: int = Field(default=8, ge=1)
    length: int = Field(default=128, ge=2)
    seed: int = 0


class EvaluationPart(Part):
    """Text to measure perplexity on; it may grow by the share ``rise``, or the verdict says no."""

    text: str
    rise: float = Field(gt=0)


class GptqPart(Part):
    """GPTQ: weights are rounded one column after the other, each making up for those before."""

    act_order: bool = False
    use_quant_activations: bool = False


class OrderPart(Part):
    """GPFQ and Qronos: as GPTQ, against the float network's activations."""

    act_order: bool = False


class MagrPart(Part):
    """MagR: outliers of weights are made smaller first."""

    alpha: float = Field(default=0.01, gt=0)


class SmoothQuantPart(Part):
    """SmoothQuant: activations are divided, and weights multiplied, by a factor of each channel."""

    alpha: float = Field(default=0.5, ge=0, le=1)


class SpinQuantPart(Part):
    """SpinQuant: the fused rotations are trained, ``steps`` times, on ``samples`` sequences."""

    steps: int = Field(default=32, ge=1)
    samples: int = Field(default=8, ge=1)
    rate: float = Field(default=1.5, gt=0)


class AwqPart(Part):
    """AWQ: weights that matter are scaled up, the range of others is clipped."""

    scale: bool = True
    clip: bool = False

    @model_validator(mode="after")
    def _something(self) -> "AwqPart":
        if not self.scale and not self.clip:
            raise ValueError("awq: neither scale nor clip: it would change nothing; leave it out")
        return self


class AlgorithmsPart(Part):
    """Post-training algorithms, in the order in which Brevitas applies them."""

    rotation: Literal["fused"] | None = None
    spinquant: SpinQuantPart | None = None
    smoothquant: SmoothQuantPart | None = None
    awq: AwqPart | None = None
    magr: MagrPart | None = None
    gptq: GptqPart | None = None
    gpfq: OrderPart | None = None
    qronos: OrderPart | None = None
    bias_correction: bool = False

    @model_validator(mode="before")
    @classmethod
    def _unsupported(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        plain = {name: str(name).lower().translate(_BETWEEN) for name in raw}
        lost = [
            f"{name}: {UNSUPPORTED[known]}" for name, known in plain.items() if known in UNSUPPORTED
        ]
        if raw.get("rotation") not in (None, "fused"):
            lost.append("rotation: " + _ROTATIONS.format(raw["rotation"]))
        if lost:
            raise ValueError("; ".join(lost))
        return raw

    @model_validator(mode="after")
    def _trained(self) -> "AlgorithmsPart":
        if self.spinquant and not self.rotation:
            raise ValueError(f"spinquant: {UNSUPPORTED['quarot']} beside it, which it trains")
        return self

    @model_validator(mode="after")
    def _one_rounding(self) -> "AlgorithmsPart":
        chosen = [name for name in ("gptq", "gpfq", "qronos") if getattr(self, name)]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} both round the weights: choose one")
        return self


class QuantizePart(Part):
    """Everything that the step ``quantize`` is told."""

    weights: WeightsPart
    activations: ActivationsPart
    attention: Literal["qkv"] | None = None
    last_layer: bool = False
    algorithms: AlgorithmsPart = AlgorithmsPart()
    calibration: CalibrationPart
    evaluation: EvaluationPart
    tokenizer: _Names

    @model_validator(mode="after")
    def _fits(self) -> "QuantizePart":
        if self.attention and self.activations.format == "int8":
            raise ValueError(
                "attention: keys and values in int8 would be written into a cache of int8, which"
                " the compiler refuses (si8 in place): choose activations of fp8_e4m3_fnuz, or"
                " leave attention out"
            )
        if self.weights.format != self.activations.format:
            raise ValueError(
                f"weights are {self.weights.format} and activations {self.activations.format}:"
                " sharktank multiplies values of one format"
            )
        return self
