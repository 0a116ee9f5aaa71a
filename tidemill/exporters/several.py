"""Several checkpoints in one program, as one diffusers folder holds them.

Each part has a folder: ``text_encoder/config.json`` and ``text_encoder/model.safetensors`` are of
the part ``text_encoder``, and its parameters are called ``text_encoder.<the checkpoint's name>``.

A family derives from ``SeveralExporter`` instead of TorchExporter and names its ``folders``. In
``architecture`` it builds each part from ``part_of(spec, folder)``, with any function that takes a
Spec, and makes the parts the children of one module under the folders' names. That module is the
``named`` of its Architecture. Where checkpoints have other names too, ``part_aliases`` gives them,
without the folder; patterns in ``ignored`` and in the manifest see names with the folder.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Spec
from tidemill.exporters.parameters import ParameterSource, Shape, open_weights
from tidemill.exporters.torch_exporter import TorchExporter


class JoinedSource:
    """The tensors of several sources; a tensor's name begins with the name of its source."""

    def __init__(self, sources: Mapping[str, ParameterSource]) -> None:
        self._sources = sources

    def shapes(self) -> Mapping[str, Shape]:
        """Every tensor of every source."""
        return {
            f"{part}.{name}": shape
            for part, source in self._sources.items()
            for name, shape in source.shapes().items()
        }

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The elements of one tensor."""
        part, _, own = name.partition(".")
        return self._sources[part].pieces(own)


class SeveralExporter(TorchExporter):
    """A torch family whose parameters come from one checkpoint a folder."""

    #: The folders that the manifest's files lie in.
    folders: ClassVar[tuple[str, ...]]

    def weights(self, spec: Spec) -> ParameterSource:
        """Each folder's weight files, under names that begin with the folder."""
        return JoinedSource(
            {
                folder: open_weights(
                    part_of(spec, folder).weights, pickle_allowed=spec.pickle_allowed
                )
                for folder in self.folders
            }
        )

    def aliases(self, spec: Spec, *, name: str) -> tuple[str, ...]:
        """The part's aliases, each with the folder before it."""
        folder, _, own = name.partition(".")
        return tuple(
            f"{folder}.{other}" for other in self.part_aliases(spec, folder=folder, name=own)
        )

    def part_aliases(self, spec: Spec, *, folder: str, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """Other names of the parameter ``name`` in the checkpoints of the part ``folder``."""
        return ()


def part_of(spec: Spec, folder: str) -> Spec:
    """``spec`` with only those configuration and weight files that lie in ``folder``.

    Raises WorkError when no configuration file lies there.
    """
    config = _within(spec.config, folder)
    if not config:
        raise WorkError(
            FailureClass.EXPORT,
            f"no configuration file lies in {folder}/",
            hint=f"declare {folder}/config.json under `config` of the component",
        )
    return replace(spec, config=config, weights=_within(spec.weights, folder))


def _within(files: Mapping[str, Path], folder: str) -> Mapping[str, Path]:
    return {name: path for name, path in files.items() if Path(name).parent.name == folder}
