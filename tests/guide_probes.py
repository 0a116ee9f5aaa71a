"""The exporter of docs/guide.md, as it stands there. Run like exporter_probes.py."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np

from tests.exporter_probes import entries, run_on_cpu
from tidemill.exporters.base import Dimension, InputSpec, Spec


def main(source: Path) -> None:
    """Export, pack, run in torch and compiled."""
    sys.path.insert(0, str(source.parent))
    module = importlib.import_module(source.stem)
    request = Spec(
        dtype="f32",
        options={"width": 32},
        inputs=(InputSpec(name="features", dtype="f32", shape=("batch", 16)),),
        dynamic={"batch": Dimension(min=1, max=8)},
        config={},
        weights={},
        synthetic={"seed": 3, "scale": 1.0},
    )
    module.EXPORTER.export(request, Path("a.mlir"))
    module.EXPORTER.pack(request, Path("a.irpa"))
    features = np.sin(np.arange(48, dtype=np.float32)).reshape(3, 16)
    expected = module.EXPORTER.program(request, "f64")([features])[0]
    result = run_on_cpu(Path("a.mlir"), Path("a.irpa"), features)
    found = {
        "parameters": sorted(entries(Path("a.irpa"))),
        "shape": list(result.shape),
        "size": float(np.abs(expected).max()),
        "error": float(np.abs(result - expected).max()),
    }
    Path("findings.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
