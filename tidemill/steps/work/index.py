"""``reference.json``: what the reference step writes and the validate step reads.

::

    {"format": 1, "dtype": "f16", "precision": "f64", "exporter": "…",
     "samples": [{"name": "…", "dims": {"seq": 32},
       "inputs": [{"name", "file", "dtype", "shape"}],
       "outputs": [{"name": "output0", "file", "stored": "f64", "shape", "not_finite",
                    "dtypes": ["f16"], "noise": {…metrics…},
                    "unnarrowed": {"max_abs", "rel_l2"}}],
       "greedy": null | {"tokens", "masks", "expected": [[…]], "torch": {"f32": {…}},
                         "rules": {"stop", "banned", "banned_first"}, "text": ["…"]}}]}

``unnarrowed`` is there where the program narrows its activations (``noise``), ``rules`` and
``text`` where decoding follows Whisper's rules. ``stored`` is the element type in the file,
``dtypes`` the ones that the artifact may return.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemill.errors import FailureClass, WorkError

FORMAT = 1
INDEX = "reference.json"


def read_index(files: Mapping[str, Path], *, dtype: str) -> dict[str, Any]:
    """``reference.json`` among ``files``. Raises WorkError if it is absent or another variant's."""
    if INDEX not in files:
        raise unusable(f"the reference has no {INDEX}")
    index: dict[str, Any] = json.loads(files[INDEX].read_text(encoding="utf-8"))
    if index.get("format") != FORMAT:
        raise unusable(f"the reference has format {index.get('format')}, this code reads {FORMAT}")
    if index["dtype"] != dtype:
        raise unusable(f"the reference is for {index['dtype']}, the artifact is {dtype}")
    return index


def unusable(message: str) -> WorkError:
    """The error for a reference that cannot be compared with."""
    return WorkError(
        FailureClass.INFRASTRUCTURE, message, hint="make the reference again: run it with --force"
    )
