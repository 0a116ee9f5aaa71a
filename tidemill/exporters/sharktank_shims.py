"""What sharktank 3.8.0 and Brevitas 0.13.4 lack beside newer packages: one shim each.

Every shim says which versions it serves. Below them it is not needed and nothing is done; above
them nobody has looked, and using it is an error that says so. A shim changes a library in this
process only; installed files stay as they are.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from tidemill.errors import FailureClass, WorkError


@dataclass(frozen=True, slots=True, kw_only=True)
class Shim:
    """One repair. It serves ``package`` from version ``first`` up to, and without, ``before``."""

    name: str
    package: str
    first: str
    before: str
    why: str
    install: Callable[[], None]

    def wanted(self, version: str) -> bool:
        """Whether ``version`` of the package needs it. Raises WorkError where nobody knows."""
        if _numbers(version) < _numbers(self.first):
            return False
        if _numbers(version) < _numbers(self.before):
            return True
        raise WorkError(
            FailureClass.EXPORT,
            f"shim {self.name} serves {self.package} >={self.first},<{self.before}; this is"
            f" {version}",
            hint=f"see whether {self.package} {version} still needs it ({self.why}), and move its"
            " range in tidemill/exporters/sharktank_shims.py, or pin an older version",
        )


def apply(shims: Sequence[Shim]) -> list[str]:
    """Install those of ``shims`` that the packages here need; their names. Raises WorkError."""
    installed = []
    for shim in shims:
        if shim.wanted(metadata.version(shim.package)):
            shim.install()
            installed.append(shim.name)
    return installed


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, by which versions compare; what follows them does not count."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _mlir_isinstance() -> None:
    """Give every type, attribute and value of the MLIR bindings its old ``isinstance``."""
    from iree.compiler import ir  # noqa: PLC0415 - only in the child of a sharktank step

    def is_instance(kind: type, value: object) -> bool:
        return isinstance(value, kind)

    for name in dir(ir):
        kind = getattr(ir, name)
        bases = (ir.Type, ir.Attribute, ir.Value)
        if isinstance(kind, type) and issubclass(kind, bases) and not hasattr(kind, "isinstance"):
            kind.isinstance = classmethod(is_instance)  # type: ignore[attr-defined]


def _float_attention() -> None:
    """Read quantised keys and values back from the cache as float32, as the queries are."""
    import torch  # noqa: PLC0415
    from sharktank.layers import paged_attention  # noqa: PLC0415

    pack = paged_attention.pack_raw_tensor

    def wide(tensor: Any, quantizer: Any, dtype: Any = None) -> Any:
        return pack(tensor, quantizer, dtype=torch.float32 if dtype == torch.float16 else dtype)

    paged_attention.pack_raw_tensor = wide


def _quantised_attention() -> None:
    """Export quantised attention: a handler that fits the layer and its callers."""
    from brevitas.export.shark import manager  # noqa: PLC0415
    from brevitas.nn import QuantScaledDotProductAttention  # noqa: PLC0415

    handler = _attention_handler()
    usual = manager.SharkManager.set_export_handler.__func__

    def set_export_handler(kind: Any, module: Any, name: str, shared: dict[str, Any]) -> None:
        if not isinstance(module, QuantScaledDotProductAttention):
            usual(kind, module, name, shared)
            return
        module.export_handler = handler()
        module.export_handler.layer_name, module.export_handler.shared_dict = name, shared

    manager.SharkManager.set_export_handler = classmethod(set_export_handler)


def _equalised_layers() -> None:
    """Give the parts of an equalised layer the names that sharktank has for them."""
    from brevitas_examples.llm import main  # noqa: PLC0415

    usual = main.gguf_mapping

    def mapping(tensors: Mapping[str, Any], config: Any) -> Any:
        return usual({lifted(name): tensor for name, tensor in tensors.items()}, config)

    main.gguf_mapping = mapping


def _layer_biases() -> None:
    """Export the biases of quantised layers: usually only layers without parts keep theirs."""
    from brevitas.export.shark.handler import SharkLinearQuant  # noqa: PLC0415
    from sharktank.types import DefaultPrimitiveTensor  # noqa: PLC0415

    usual = SharkLinearQuant.forward

    def forward(self: Any, values: Any) -> Any:
        if self.module.bias is not None:
            name = f"{self.layer_name}.bias"
            # Copied: the layer's own may be unloaded when the call is over.
            bias = self.module.bias.detach().clone()
            self.shared_dict[name] = DefaultPrimitiveTensor(name=name, data=bias)
        return usual(self, values)

    SharkLinearQuant.forward = forward


def lifted(name: str) -> str:
    """The name of a tensor of an equalised layer as if the layer stood by itself.

    ``x.layer.weight`` is ``x.weight``, and ``x.scale.weight``, by which inputs are multiplied, is
    ``x.premul_input``; other names stay.
    """
    name = re.sub(r"\.scale\.weight$", ".premul_input", name)
    return re.sub(r"\.layer(\.(?:weight|bias|q_input|q_output))$", r"\1", name)


def _attention_handler() -> type[Any]:
    import torch  # noqa: PLC0415
    from brevitas.export.shark.handler import SharkQuantSDPA  # noqa: PLC0415

    class Attention(SharkQuantSDPA):
        """Records the scales of queries, keys and values, and passes values through."""

        def prepare_for_export(self, module: Any) -> None:
            module.pre_forward = None  # the layer lost it; the usual handler still copies it
            super().prepare_for_export(module)
            self.scaled = False

        def forward(  # noqa: PLR0917 - the order in which transformers passes them
            self,
            query: Any,
            key: Any,
            value: Any,
            attn_mask: Any = None,
            scale: float | None = None,
            is_causal: bool = False,
            **_: Any,
        ) -> Any:
            factor = scale if scale is not None else 1 / math.sqrt(query.size(-1))
            if self.q_scaled_quant is not None and not self.scaled:
                # Brevitas calibrates queries after they are scaled, sharktank quantises before.
                self.q_scaled_quant["scale"] = self.q_scaled_quant["scale"] / factor
                self.scaled = True
            self.act_quant(self.q_scaled_quant, query)
            self.act_quant(self.k_transposed_quant, key)
            self.act_quant(self.v_quant, value)
            shared = query.size(-3) // key.size(-3)
            return torch.nn.functional.scaled_dot_product_attention(
                query,
                key.repeat_interleave(shared, -3),
                value.repeat_interleave(shared, -3),
                attn_mask=attn_mask,
                is_causal=is_causal,
                scale=scale,
            )

    return Attention


MLIR_ISINSTANCE = Shim(
    name="mlir-isinstance",
    package="iree-base-compiler",
    first="3.11",
    before="3.13",
    why="its bindings lost Type.isinstance, which iree-turbine 3.9 and sharktank 3.8 call",
    install=_mlir_isinstance,
)
FLOAT_ATTENTION = Shim(
    name="float-attention",
    package="sharktank",
    first="3.8",
    before="3.9",
    why="quantised keys and values come out of the cache as float16 beside float32 queries, which"
    " no kernel with a right mask for ragged batches takes",
    install=_float_attention,
)
QUANTISED_ATTENTION = Shim(
    name="quantised-attention",
    package="brevitas",
    first="0.13.4",
    before="0.13.5",
    why="its shark export of quantised attention calls what the layer has not, and quantises"
    " queries at another place than sharktank does",
    install=_quantised_attention,
)
EQUALISED_LAYERS = Shim(
    name="equalised-layers",
    package="brevitas",
    first="0.13.4",
    before="0.13.5",
    why="its shark export has a handler of layers whose inputs are multiplied, and never uses it",
    install=_equalised_layers,
)
LAYER_BIASES = Shim(
    name="layer-biases",
    package="brevitas",
    first="0.13.4",
    before="0.13.5",
    why="its shark export drops the biases of quantised layers, and so all that bias correction"
    " does",
    install=_layer_biases,
)
