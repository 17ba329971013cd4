"""Do networks generated from a supernet's accuracies keep their accuracy and budget in files?

    pnag profile --device cpu --space mbv3-cifar --networks 30 --out cpu.json
    pnag train --latency-table cpu.json --accuracy-table accuracy.json --out runs/cifar
    python -m benchmarks.supernet_end_to_end --run runs/cifar --device cpu --data cifar10.npz \\
        --checkpoint runs/supernet/supernet.safetensors --recipe accuracy.recipe.json --out nets

For budgets over the reachable range: generate, verify the latency on the device, extract with
weights, and classify test images with the ONNX and the TFLite files: the images that the accuracy
table was made of (`table_images`), then all. `table` is the top-1 that `pnag supernet evaluate`
gives the architecture with the table's recipe, `predicted` what the model fitted to the table says.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnag.runs.inputs import LATENCY_FILE
from pnag.runs.run import load_run
from pnag.search.budget import spread_budgets_ms
from pnag.supernet.accuracy_table import exported_settings
from pnag.supernet.checkpoint import file_digest, load_supernet
from pnag.supernet.data import Dataset, open_dataset
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.evaluate import EvaluationSettings, SubnetEvaluator
from pnag.supernet.extract import extract_subnet
from pnag.verify import Request, VerifiedArchitecture, generate_verified
from profiler.graph.litert import Model
from profiler.spaces.mobilenetv3 import open_space
from profiler.system.atomic import write_text_atomic
from profiler.tables.table import load_table
from profiler.terminal import Terminal

Classify = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # [1, 3, h, w] -> [1, classes]


def onnx_classifier(path: Path) -> Classify:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"input": image})[0]


def tflite_classifier(path: Path) -> Classify:
    model = Model(path.read_bytes())
    return lambda image: model.run(image.transpose(0, 2, 3, 1))


def file_top1(path: Path, evaluator: SubnetEvaluator) -> float:
    """The share of test images that the file classifies rightly, one at a time."""
    classify = onnx_classifier(path) if path.suffix == ".onnx" else tflite_classifier(path)

    def logits(images: Tensor) -> Tensor:
        singles = np.split(images.contiguous().numpy(), len(images))
        return torch.from_numpy(np.concatenate([classify(image) for image in singles]))

    return evaluator.top1(logits)


@dataclass(frozen=True)
class Protocols:
    """How a subnet is evaluated: as the table was, and the exported files on its images or all."""

    table: SubnetEvaluator
    files: dict[str, SubnetEvaluator]

    @classmethod
    def of_recipe(
        cls, path: Path, checkpoint: Path, data: Dataset, supernet: ElasticMobileNetV3
    ) -> Protocols:
        exported = exported_settings(path, checkpoint, supernet.space, data)
        settings = EvaluationSettings(**json.loads(path.read_text())["settings"])
        each = {"table_images": exported, "all_images": replace(exported, test_images=None)}
        return cls(
            SubnetEvaluator(data, supernet.space, settings),
            {name: SubnetEvaluator(data, supernet.space, chosen) for name, chosen in each.items()},
        )


def end_to_end(
    row: VerifiedArchitecture,
    supernet: ElasticMobileNetV3,
    data: Dataset,
    protocols: Protocols,
    folder: Path,
) -> dict[str, Any]:
    """One generated network: its budget, latencies, and accuracies of all its forms."""
    arch = row.picked.arch
    table_top1 = protocols.table.top1(protocols.table.subnet(supernet, arch))
    accuracies = {}
    for images, evaluator in protocols.files.items():
        made = extract_subnet(
            supernet, arch, evaluator, ("onnx", "tflite"), folder, calibration=data
        )
        accuracies[images] = {"n": evaluator.n_test, "torch": made.top1} | {
            name: file_top1(folder / f"subnet.{name}", evaluator)
            for name in ("onnx", "tflite", "int8.tflite")
        }
    return {
        "budget_ms": row.picked.budget_ms,
        "arch": row.picked.arch,
        "predicted_ms": row.picked.latency_ms,
        "measured_ms": row.measured.latency_ms,
        "verdict": row.measured.verdict.value,
        "predicted": row.picked.top1,
        "table": table_top1,
        **accuracies,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--device", required=True, help="cpu or tflite, as the run's table")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, required=True, help="written beside the table")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--confidence", type=float, help="with which a budget is kept")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    run, table = load_run(options.run), load_table(options.run / LATENCY_FILE)
    budgets_ms = [round(budget_ms, 3) for budget_ms in spread_budgets_ms(*run.reachable_ms)]
    request = Request(budgets_ms, confidence=options.confidence, seed=options.seed)
    verified = generate_verified(run, table, options.device, request, Terminal())
    space = open_space(table.space.name, **table.space.facts)
    supernet = load_supernet(options.checkpoint, space)
    data = open_dataset(options.data, supernet.space)
    protocols = Protocols.of_recipe(options.recipe, options.checkpoint, data, supernet)
    rows = []
    for row in verified.rows:
        folder = options.out / f"{row.picked.budget_ms:g}ms"
        rows.append(end_to_end(row, supernet, data, protocols, folder))
        print(json.dumps(rows[-1]), flush=True)
    document = {
        "device": verified.device.model,
        "checkpoint_sha256": file_digest(options.checkpoint),
        "data": data.name,
        "settings": asdict(protocols.table.settings),
        "confidence": options.confidence,
        "rows": rows,
    }
    write_text_atomic(options.out / "end_to_end.json", json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
