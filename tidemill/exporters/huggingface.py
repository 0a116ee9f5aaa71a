"""What the transformers families share: a configuration file to a model, all of it local."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from torch import nn
from transformers import CONFIG_MAPPING

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Spec


def configuration(spec: Spec) -> Any:
    """The transformers configuration of the one ``config.json`` of ``spec``.

    Code that a configuration names (``auto_map``) is never run. Raises WorkError when the file is
    missing or transformers has no such architecture.
    """
    path = config_file(spec.config)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        kind = raw["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise WorkError(
            FailureClass.EXPORT,
            "config.json is not JSON with a model_type",
            hint="check the source",
        ) from error
    if kind not in CONFIG_MAPPING:
        raise WorkError(
            FailureClass.EXPORT,
            f"transformers {transformers.__version__} has no architecture {kind!r}",
            hint="choose a toolchain with a newer transformers; remote code is never run",
        )
    return CONFIG_MAPPING[kind].from_dict(raw)


def configuration_of(kind: Any, spec: Spec) -> Any:
    """``configuration``, and it is a ``kind``. Raises WorkError when it is of another family."""
    config = configuration(spec)
    if not isinstance(config, kind):
        raise WorkError(
            FailureClass.EXPORT,
            f"config.json is of a {config.model_type}, not of a {kind.model_type}",
            hint="take the config.json that lies beside this component's weights",
        )
    return config


def model_of(auto: Any, config: Any) -> nn.Module:
    """``auto``'s model for ``config``, eager attention, no pooling head where it is optional.

    Eager attention, because fused attention is 5 to 8 times slower through IREE's CPU backend.
    """
    kind = auto._model_mapping[type(config)]
    extra = (
        {"add_pooling_layer": False}
        if "add_pooling_layer" in inspect.signature(kind).parameters
        else {}
    )
    model: nn.Module = auto.from_config(config, attn_implementation="eager", **extra)
    return model


def config_file(files: Mapping[str, Path]) -> Path:
    """The one ``config.json`` among configuration files. Raises WorkError unless it is one."""
    found = [path for name, path in files.items() if Path(name).name == "config.json"]
    if len(found) != 1:
        raise WorkError(
            FailureClass.EXPORT,
            f"expected one config.json among the configuration files, found {len(found)}",
            hint="declare it under `config` of the source",
        )
    return found[0]
