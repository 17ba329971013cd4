"""Make the file of NAS-Bench-201's accuracies that pnag ships.

    python -m benchmarks.nasbench201_accuracies nasbench201.csv.gz --write FILE

The table has a row for each of the 15,625 cells: `arch`, and the test accuracies in percent
`acc_cifar10`, `acc_cifar100` and `acc_in16` (NATS-Bench, MIT, by v-tao/nats-bench-landscape).
"""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np

from predictors.accuracy.enumerated import METADATA, SCALE
from profiler.spaces.nasbench201 import NasBench201Space
from profiler.system.tensor_files import described, write_arrays

COLUMNS = {"cifar10": "acc_cifar10", "cifar100": "acc_cifar100", "imagenet16-120": "acc_in16"}
DESCRIPTION = {
    "values": "test accuracy as fractions of 10,000,000; cells counted by their tokens in base 5",
    "source": "NATS-Bench (Dong et al., TPAMI 2021, github.com/D-X-Y/NATS-Bench), topology space, "
    "by v-tao/nats-bench-landscape",
    "licence": "MIT",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--write", type=Path, required=True)
    options = parser.parse_args()
    space = NasBench201Space()
    with gzip.open(options.table, "rt", encoding="utf-8", newline="") as file:
        rows = {row["arch"]: row for row in csv.DictReader(file)}
    cells = [rows[space.format(tokens)] for tokens in space.every()]
    arrays = {
        dataset: np.round([float(row[column]) * SCALE / 100 for row in cells]).astype(np.uint32)
        for dataset, column in COLUMNS.items()
    }
    write_arrays(options.write, arrays, described(METADATA, DESCRIPTION))
    for dataset, values in arrays.items():
        best = int(values.argmax())
        print(f"{dataset:15} {values[best] / SCALE:.5%}  {cells[best]['arch']}")


if __name__ == "__main__":
    main()
