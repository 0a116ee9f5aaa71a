"""One variant of a component as nodes, from its export to its validation on each target.

Pure. Nodes that all targets share (export, pack, reference) exist once per variant.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.address import Address
from tidemill.exporters import EXPORTERS, MAIN
from tidemill.graph import DEFAULT_LIMITS, MODULE, Input, Limits, Node, NodeId
from tidemill.graph_samples import Described, described, output_file, shapes_of
from tidemill.manifest.model import ComponentPart, LimitPart, ManifestPart
from tidemill.manifest.paged import EQUAL_ROWS, promises_equal
from tidemill.manifest.part import parse_size, parse_time
from tidemill.manifest.quantize import QuantizePart
from tidemill.manifest.targets import TargetPart
from tidemill.records import Stage
from tidemill.sources import parse_source
from tidemill.steps.table import STEPS


def variants(component: ComponentPart) -> Iterator[tuple[str, dict[str, int]]]:
    """Every dtype with every point of the matrix."""
    axes = component.matrix
    for dtype in component.dtypes:
        for sizes in itertools.product(*axes.values()):
            yield dtype, dict(zip(axes, sizes, strict=True))


def limits_of(part: LimitPart) -> Limits:
    """A manifest's limits in seconds and bytes."""
    return Limits(seconds=parse_time(part.timeout), memory_bytes=parse_size(part.memory))


def own_limits(stage: Stage, component: ComponentPart) -> Limits:
    """What a stage of a component may use: as its manifest says, else the default."""
    return limits_of(component.limits.get(stage, DEFAULT_LIMITS[stage]))


@dataclass(frozen=True, kw_only=True)  # no slots: they exclude cached properties
class Variant:
    """One point of a component's matrix."""

    model: ManifestPart
    name: str
    component: ComponentPart
    dtype: str
    axis: Mapping[str, int]

    @functools.cached_property
    def address(self) -> Address:
        """Its address; the variant's name is derived from the axes, dtype first."""
        return _address(self.model.name, self.name, self.dtype, self.axis)

    @property
    def toolchain(self) -> str:
        """The toolchain that the component names; "" for the run's own."""
        return self.component.toolchain or ""

    @functools.cached_property
    def program(self) -> dict[str, Any]:
        """The fields that every step which runs the exporter has."""
        component = self.component
        return {
            "exporter": component.exporter,
            "dtype": self.dtype,
            "options": dict(component.options),
            "inputs": shapes_of(component, self.axis),
            "dynamic": {k: {"min": d.min, "max": d.max} for k, d in component.dimensions.items()},
        }

    @functools.cached_property
    def numerics(self) -> dict[str, Any]:
        """The fields that say what a verdict demands."""
        part, dtype = self.component.numerics, self.dtype
        absolute = part.absolute if part.absolute and dtype in part.absolute.dtypes else None
        return {
            "factor": part.factor,
            "absolute": (
                {"max_abs": absolute.max_abs, "reason": absolute.reason} if absolute else None
            ),
            "logits": list(part.logits),
            "top1": part.top1,
            # Where a reason stood once. Proxies are components now; keys have not moved for it.
            "proxy": None,
            **({"narrowed": True} if self.component.quantize else {}),
        }

    def shared(self) -> tuple[Node, ...]:
        """Quantise, export, pack and reference: what all targets share."""
        component, program = self.component, self.program
        info = EXPORTERS[component.exporter]
        config = self.files("config", component.config)
        weights = self.files("weights", component.weights)
        unknown: dict[str, Any] = {"synthetic": None, "pickle": False}
        values = {"synthetic": self.synthetic(), "pickle": self.pickle()}
        quantise = []
        if component.quantize:
            quantise.append(self._quantise(component.quantize, values, config + weights))
            # From here on the narrowed dataset is what stands for the checkpoint.
            values, weights = unknown, [self._made("quantised", "quantize", "dataset.irpa")]
        read = config if info.weightless else config + weights
        if info.reads_parameters:
            read = [*read, self._made("parameters", "pack", "model.irpa")]
        export = self._torch_node("export", {**program, **unknown}, read)
        pack = self._torch_node("pack", {**program, **values}, config + weights)
        made = (*quantise, *((pack, export) if info.reads_parameters else (export, pack)))
        if component.proxy_of(self.dtype):
            # Values from a seed are there for their verdict, which here is another component's.
            return (export,) if values["synthetic"] and not info.reads_parameters else made
        samples = described(component, self.dtype)
        reference: dict[str, Any] = {"samples": samples.fields, "precision": component.reference}
        if component.outputs:
            reference["outputs"] = list(component.outputs)
        judge = self._torch_node(
            "reference",
            {**program, **values, **reference},
            [*config, *weights, *self._sampled(samples)],
            tools=("tokenizers",) if "tokenizer" in samples.files else (),
        )
        return *made, judge

    def _made(self, role: str, stage: Stage, file: str) -> Input:
        """One file that another step of this variant makes."""
        return Input(role=role, node=f"{stage}:{self.address}", files=((file, file),))

    def _quantise(
        self, part: QuantizePart, values: Mapping[str, Any], /, checkpoint: Iterable[Input]
    ) -> Node:
        """The step that narrows a checkpoint. Sizes and kernels of the program do not touch it."""
        chosen = part.model_dump(exclude={"tokenizer", "evaluation"})
        del chosen["calibration"]["text"]
        bare = {**self.program, "options": {}, "inputs": [], "dynamic": {}}
        return self._torch_node(
            "quantize",
            {**bare, **values, "quantize": chosen},
            [
                *checkpoint,
                *self.files("tokenizer", part.tokenizer),
                *self.files("calibration", [part.calibration.text]),
                *self.files("evaluation", [part.evaluation.text]),
            ],
        )

    def _sampled(self, samples: Described) -> Iterator[Input]:
        """What samples are made from: files of sources, and outputs of other references."""
        for role, references in samples.files.items():
            yield from self.files(role, references)
        for given in samples.outputs:
            name, sample, output = given.split("/")
            other = self.model.components[name]
            file = output_file(other, sample, output)
            node = f"reference:{self._same_of(name)}"
            yield Input(role="output", node=node, files=((given, file),))

    def _same_of(self, name: str) -> Address:
        """The one variant of another component in this dtype."""
        axis = dict(variants(self.model.components[name]))[self.dtype]
        return _address(self.model.name, name, self.dtype, axis)

    def _torch_node(
        self,
        stage: Stage,
        fields: Mapping[str, Any],
        /,
        inputs: Iterable[Input],
        *,
        tools: Iterable[str] = (),
    ) -> Node:
        info = EXPORTERS[self.component.exporter]
        return Node(
            stage=stage,
            address=self.address,
            fields=fields,
            inputs=tuple(inputs),
            tools=tuple(sorted({*STEPS[stage].tools, *info.packages, *tools})),
            code=(*STEPS[stage].code, info.module),
            limits=own_limits(stage, self.component),
            toolchain=self.toolchain,
        )

    def files(self, role: str, references: Iterable[str]) -> list[Input]:
        """The files of sources that ``references`` name, in one role."""
        by_source: dict[str, list[tuple[str, str]]] = {}
        for reference in references:
            source, _, file = reference.partition("/")
            if file:
                by_source.setdefault(source, []).append((file, file))
        return [
            Input(role=role, node=f"fetch:{self.model.name}/{source}", files=tuple(files))
            for source, files in by_source.items()
        ]

    def synthetic(self) -> dict[str, Any] | None:
        """The seed that values come from in place of weights, if they do."""
        for reference in self.component.weights:
            source = self.model.sources[reference.partition("/")[0]]
            parsed = parse_source(source.origin)
            if parsed.scheme == "synthetic":
                return {"seed": parsed.seed, "scale": source.scale}
        return None

    def pickle(self) -> bool:
        """Whether some source may be a pickle. Its reason is for people and no part of a key."""
        used = (reference.partition("/")[0] for reference in self.component.weights)
        return any(self.model.sources[source].pickle for source in used)

    def of_targets(
        self, chosen: Iterable[str], targets: Mapping[str, TargetPart], /, compiler: str
    ) -> Iterator[Node]:
        """Compile and validate for every target of ``chosen``."""
        for name in chosen:
            component, target = self.component, targets[name]
            flags = [
                *target.flags_for(compiler, name=name),
                *component.flags.get("all", ()),
                *component.flags.get(name, ()),
            ]
            compiled = self._compile(name, flags)
            yield compiled
            if not component.proxy_of(self.dtype):
                yield self._validate(name, target, compiled)

    def on(self, target: str) -> Address:
        """Its address on a target."""
        at = self.address
        return Address(at.model, at.component, at.variant, target)

    def _judge(self, target: str) -> NodeId:
        """The node whose verdict counts on ``target``: the own one, or that of the proxy."""
        address, proxy = self.address, self.component.proxy_of(self.dtype)
        if proxy:
            address = self._same_of(proxy)
        return f"validate:{Address(address.model, address.component, address.variant, target)}"

    def _compile(self, target: str, flags: list[str]) -> Node:
        mlir = Input(role="mlir", node=f"export:{self.address}", files=_same("model.mlir"))
        return Node(
            stage="compile",
            address=self.on(target),
            fields={"flags": flags},
            inputs=(mlir,),
            judge=self._judge(target),
            tools=STEPS["compile"].tools,
            code=STEPS["compile"].code,
            limits=own_limits("compile", self.component),
            toolchain=self.toolchain,
        )

    def _validate(self, name: str, target: TargetPart, /, compiled: Node) -> Node:
        module = Input(role=MODULE, node=compiled.id, files=_same("model.vmfb"))
        driver = EXPORTERS[self.component.exporter].driver
        # Beside a language model's archive lies its tokenizer, which no verdict depends on.
        archive = () if driver == MAIN else _same("model.irpa")
        inputs = [
            module,
            Input(role="parameters", node=f"pack:{self.address}", files=archive),
            Input(role="reference", node=f"reference:{self.address}"),
        ]
        if driver != MAIN:
            inputs.append(self._made("config", "export", "config.json"))
        quantize = self.component.quantize
        if quantize:
            inputs.append(self._made("quantised", "quantize", "quantization.json"))
        return Node(
            stage="validate",
            address=self.on(name),
            fields={
                "device": target.device,
                **({"function": MAIN} if driver == MAIN else {"driver": driver}),
                "dtype": self.dtype,
                "inputs": self.program["inputs"],
                "numerics": self.numerics,
                **({"perplexity_rise": quantize.evaluation.rise} if quantize else {}),
                **({"holds_for": EQUAL_ROWS} if promises_equal(self.component.options) else {}),
            },
            inputs=tuple(inputs),
            tools=STEPS["validate"].tools,
            code=(*STEPS["validate"].code, f"tidemill.steps.work.drivers.{driver}"),
            limits=own_limits("validate", self.component),
            device=name,
            toolchain=self.toolchain,
        )


def _same(name: str) -> tuple[tuple[str, str], ...]:
    """One output, under its own name."""
    return ((name, name),)


def _address(model: str, component: str, dtype: str, axis: Mapping[str, int]) -> Address:
    sizes = [f"{name}{size}" for name, size in axis.items()]
    return Address(model, component, "-".join([dtype, *sizes]))
