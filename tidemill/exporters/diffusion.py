"""What the diffusers families share: a configuration file to a model, all of it local.

Attention is the classical one (scores, softmax, product), as in ``huggingface.model_of``. The
transformers of SD3 and FLUX.1 come from ``made_of`` and keep their fused attention: the scores of
their thousands of tokens would take a gigabyte a layer.
"""

import json
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers.models.attention_processor import AttnProcessor

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Spec
from tidemill.exporters.huggingface import config_file


def component_of(kind: Any, spec: Spec) -> Any:
    """The diffusers model of class ``kind`` that the one ``config.json`` of ``spec`` describes.

    Raises WorkError when the file is missing, no JSON, or of another class.
    """
    model = made_of(kind, settings_of(kind, spec))
    model.set_attn_processor(AttnProcessor())
    return model


def settings_of(kind: Any, spec: Spec) -> dict[str, Any]:
    """What the one ``config.json`` of ``spec`` says. Raises WorkError, see ``component_of``."""
    try:
        settings: dict[str, Any] = json.loads(config_file(spec.config).read_text(encoding="utf-8"))
        name = settings["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise WorkError(
            FailureClass.EXPORT,
            "config.json is not JSON with a _class_name",
            hint="take the config.json that lies beside the component's weights",
        ) from error
    if name != kind.__name__:
        raise WorkError(
            FailureClass.EXPORT,
            f"config.json is of a {name}; this exporter makes {kind.__name__}",
            hint="choose the exporter of that family, or the file of this component",
        )
    return settings


def made_of(kind: Any, settings: Mapping[str, Any]) -> Any:
    """The model of class ``kind`` with its own attention. Raises WorkError if there is none."""
    try:
        return kind.from_config(settings)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise WorkError(
            FailureClass.EXPORT,
            f"diffusers {diffusers.__version__} cannot make this {kind.__name__}: {error}",
            hint="correct config.json, or choose a toolchain with another diffusers",
        ) from error
