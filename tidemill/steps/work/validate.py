"""Working half of ``validate``: run the compiled module on the reference's inputs, write a verdict.

``out/verdict.json`` is written whether the contract holds or not; the caller decides what a verdict
that does not hold means. A module that cannot be run has no verdict, but a WorkError.

Which of several devices of a driver to use is no part of the key: it comes in the environment, as
``TIDEMILL_DEVICE_URI``; without it the driver chooses.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.speech.rules import Rules
from tidemill.steps.work.contract import Contract, Json, Produced, judge
from tidemill.steps.work.drivers import Driver, open_driver
from tidemill.steps.work.dtypes import Array, load_array
from tidemill.steps.work.greedy import Plan, agreement
from tidemill.steps.work.index import read_index, unusable
from tidemill.steps.work.perplexity import judged_quantisation
from tidemill.steps.work.pictures import pictured
from tidemill.steps.work.protocol import OUT, Made, Request, Response
from tidemill.steps.work.runner import Session, Value, device_name
from tidemill.steps.work.verdict import conclude

MODULE, PARAMETERS, VERDICT = "model.vmfb", "model.irpa", "verdict.json"
QUANTISED = "quantization.json"
DEVICE_URI = "TIDEMILL_DEVICE_URI"


def run(request: Request) -> Response:
    """Write ``out/verdict.json``; its content is also the fact ``verdict``. Raises WorkError."""
    fields = request.fields
    contract = _contract(fields)
    files = request.files("reference")
    index = read_index(files, dtype=contract.dtype)
    uri = _device_uri(fields["device"])
    session = Session(
        uri,
        module=request.files("module")[MODULE],
        parameters=request.files("parameters").get(PARAMETERS),
    )
    driver = open_driver(session, fields=fields, config=request.files("config"))
    judged: list[Json] = []
    problems: list[str] = []
    greedy: list[Json] = []
    pictures: list[Json] = []
    for sample in index["samples"]:
        inputs = _inputs(sample, files)
        results = driver.call(inputs)
        expected = sample["outputs"]
        if len(results) != len(expected):
            counts = f"{len(results)} outputs came, {len(expected)} are expected"
            problems.append(f"sample {sample['name']}: {counts}")
            continue
        made = [
            _produced(sample, output, result=result, files=files)
            for output, result in zip(expected, results, strict=True)
        ]
        judged += [judge(one, contract) for one in made]
        pictures += [picture for one in made if (picture := pictured(one))]
        if sample["greedy"]:
            greedy.append(_greedy(driver, sample, inputs=inputs))
    quantisation = None
    if report := request.files("quantised").get(QUANTISED):
        quantisation, lost = judged_quantisation(report, rise=fields["perplexity_rise"])
        problems += lost
    verdict = conclude(judged, contract, problems=problems, greedy=greedy)
    if quantisation:
        verdict["quantisation"] = quantisation
    if pictures:
        verdict["pictures"] = pictures
    if "holds_for" in fields:
        verdict["holds_for"] = fields["holds_for"]
    verdict["device"] = fields["device"]
    verdict["device_name"] = device_name(uri)
    text = json.dumps(verdict, indent=1, allow_nan=False)
    Path(OUT).mkdir(exist_ok=True)
    (Path(OUT) / VERDICT).write_text(text + "\n", encoding="utf-8")
    return Response(
        made=(Made(name=VERDICT, kind="verdict"),),
        facts={"holds": verdict["holds"], "verdict": verdict},
    )


def _contract(fields: Mapping[str, Any]) -> Contract:
    try:
        return Contract.of(fields["numerics"], dtype=fields["dtype"])
    except ValueError as error:
        hint = "correct `numerics` in the manifest"
        raise WorkError(FailureClass.NUMERICS, str(error), hint=hint) from error


def _device_uri(device: str) -> str:
    """The device to run on: the one that the environment names, or else the target's."""
    uri = os.environ.get(DEVICE_URI, "")
    if not uri:
        return device
    if uri.partition("://")[0] != device.partition("://")[0]:
        raise WorkError(
            FailureClass.INFRASTRUCTURE,
            f"{DEVICE_URI} is {uri}, but the target's device is {device}",
            hint=f"unset {DEVICE_URI}: tidemill sets it itself",
        )
    return uri


def _load(files: Mapping[str, Path], name: str, *, dtype: str) -> Array:
    if name not in files:
        raise unusable(f"the reference lacks its file {name}")
    try:
        return load_array(files[name], dtype=dtype)
    except (ValueError, EOFError) as error:
        raise unusable(f"the reference's file {name} cannot be read: {error}") from error


def _inputs(sample: Json, files: Mapping[str, Path]) -> list[Value]:
    return [
        Value(array=_load(files, item["file"], dtype=item["dtype"]), dtype=item["dtype"])
        for item in sample["inputs"]
    ]


def _produced(sample: Json, output: Json, *, result: Value, files: Mapping[str, Path]) -> Produced:
    return Produced(
        sample=sample["name"],
        name=output["name"],
        actual=result.array,
        dtype=result.dtype,
        expected=_load(files, output["file"], dtype=output["stored"]),
        dtypes=output["dtypes"],
        noise=output["noise"],
        unnarrowed=output.get("unnarrowed"),
    )


def _greedy(driver: Driver, sample: Json, *, inputs: Sequence[Value]) -> Json:
    """Decode through the compiled module; how many tokens equal the full-precision reference's."""
    asked = sample["greedy"]
    plan = Plan(tokens=asked["tokens"], masks=tuple(asked["masks"]), rules=_rules(asked))
    tokens = driver.decode(inputs, plan=plan)
    torch = {dtype: one["agreement"]["equal"] for dtype, one in asked["torch"].items()}
    return {
        "sample": sample["name"],
        **agreement(tokens, np.array(asked["expected"])),
        "torch_equal": torch,
        **({"text": asked["text"]} if "text" in asked else {}),
    }


def _rules(asked: Json) -> Rules | None:
    found = asked.get("rules")
    if not found:
        return None
    banned, first = tuple(found["banned"]), tuple(found["banned_first"])
    return Rules(stop=found["stop"], banned=banned, banned_first=first)
