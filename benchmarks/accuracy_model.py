"""How well are ImageNet accuracies of unseen Once-for-All subnets predicted? Trains the
embedded model.

    python benchmarks/accuracy_model.py ofa_mbv3_dynast_accuracy.csv --json accuracy_model.json

The CSV is that of IntelLabs/DyNAS-T (notebooks/data): columns `ks`, `e`, `d`, `r`, `top1` (%).
`--write` also writes the safetensors that pnag ships.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path

from predictors.accuracy import save_accuracy_model
from predictors.scores import AccuracyTable, accuracy_from_table
from profiler.space import MobileNetV3Space

SPACE = MobileNetV3Space("mbv3", 1.0, 224)
FOLDS, REPEATS = 10, 3


def read_dynast(path: Path) -> AccuracyTable:
    """The published CSV as an accuracy table."""
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for record in csv.DictReader(file):
            lists = {name: [int(v) for v in record[name].split(",")] for name in ("ks", "e", "d")}
            tokens = SPACE.parse(json.dumps(lists | {"r": int(record["r"])}))
            rows.append((tokens, float(record["top1"]) / 100))
    return AccuracyTable.of(
        SPACE,
        rows,
        dataset="ImageNet-1k validation, Once-for-All w1.0 subnets without fine-tuning",
        source="IntelLabs/DyNAS-T, notebooks/data (search-biased sample)",
        licence="Apache-2.0",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="the safetensors file to write")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    table = read_dynast(arguments.csv)
    fitted = accuracy_from_table(
        table, SPACE, seed=arguments.seed, folds=FOLDS, repeats=REPEATS, keep_rows=False
    )
    print(f"n {len(table.top1)}: {fitted.held_out}")
    if arguments.write:
        save_accuracy_model(arguments.write, fitted)
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(fitted.held_out), indent=1))


if __name__ == "__main__":
    main()
