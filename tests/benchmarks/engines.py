"""What could run the default model's network in place of torch: CPU seconds a slice and how far the logits are apart.

`python tests/benchmarks/engines.py` prints Markdown; one thread, batches of 8 slices, all in turn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import onnxruntime
import torch
from interleaved import least_seconds
from numpy.typing import NDArray

from ctseg.api import find_models, load_for_segment
from ctseg.export.network import exported_network
from ctseg.export.onnx_file import write_onnx
from ctseg.inference.ncnn_runner import run_by_ncnn

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # it sends a message
SLICES, ROUNDS = 8, 7
Way = Callable[[], NDArray[np.float32]]


def ways(folder: Path) -> dict[str, Way]:
    """Name -> logits of the same slices."""
    groups, _ = load_for_segment(find_models("default"), "cpu")
    (model,), (other,) = groups[0].models, run_by_ncnn(groups)[0].models
    size = model.preprocessing.size
    images = torch.rand(SLICES, 1, size, size) * 2 - 1
    path = folder / "model.onnx"
    module = model.module
    alone = onnxruntime.SessionOptions()
    alone.intra_op_num_threads = alone.inter_op_num_threads = 1
    write_onnx(path, exported_network(load_for_segment(find_models("default"), "cpu")[0][0].models[0]), size)
    session = onnxruntime.InferenceSession(str(path), alone, providers=["CPUExecutionProvider"])

    def by_torch(network: torch.nn.Module, mixed: bool = False) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return network(images).logits.float().numpy()

    def by_openvino(precision: str) -> Way:
        import openvino

        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
        network = openvino.Core().compile_model(str(path), "CPU", hints)
        return lambda: np.asarray(network([images.numpy()])[0])

    return {
        "torch": lambda: by_torch(module),
        "ncnn": lambda: by_torch(other.module),
        "OpenVINO": by_openvino("f32"),
        "onnxruntime": lambda: session.run(None, {"images": images.numpy()})[0],
        "torch, bfloat16": lambda: by_torch(module, mixed=True),
        "OpenVINO, bfloat16": by_openvino("bf16"),
    }


def main() -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        spent, found = least_seconds(ways(Path(folder)), ROUNDS)
    print("| engine | ms a slice | times as fast as torch | logits apart, at most |\n|---|---|---|---|")  # noqa: T201
    for name, seconds in spent.items():
        apart = float(np.abs(found[name] - found["torch"]).max())
        print(f"| {name} | {1000 * seconds / SLICES:.1f} | {spent['torch'] / seconds:.2f} | {apart:.2g} |")  # noqa: T201


if __name__ == "__main__":
    main()
