"""What is left when a command is killed, or its disk is full? Each command that writes, many times.

    python -m benchmarks.faults --kills 200

A command is started and gets SIGKILL after a random part of the time that it takes undisturbed; or
it may write only files of a random size (RLIMIT_FSIZE, so that a write fails as on a full disk).
Then what it left is looked at: each file is whole or not there, and a journal holds all that it
held before. At the end the command must go on, and be done.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.commands import MAIN
from benchmarks.landscape import write_json
from pnag.runs.config import read_config
from pnag.runs.run import load_run
from profiler.graph.from_onnx import read_onnx
from profiler.measuring.journal import journal_path
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.system.tensor_files import read_arrays
from profiler.tables.table import load_table

TEMPORARY = ".pnag-*"  # what a kill may leave beside a file
LIMIT = (  # without the signal a write beyond it fails
    "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); "
)


@dataclass
class Command:
    """`arguments` of pnag in `folder`.

    Attributes:
        check: looks at what is there, and raises for what is half-written or lost.
        finished: the same for what must be there in the end.
    """

    name: str
    folder: Path
    arguments: list[str]
    check: Callable[[], Any]
    finished: Callable[[], Any]
    seconds: float = 1.0
    wrong: list[str] = field(default_factory=list)

    def start(self, max_bytes: int | None = None) -> subprocess.Popen[bytes]:
        limit = "" if max_bytes is None else LIMIT.format(max_bytes)
        return subprocess.Popen(
            [sys.executable, "-c", limit + MAIN, *self.arguments, "--quiet"],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ends(self) -> None:
        """Run it undisturbed; it must be done, and its result sound."""
        begun = time.monotonic()
        process = self.start()
        _, said = process.communicate()
        self.seconds = time.monotonic() - begun
        if process.returncode:
            self.wrong.append(f"does not go on: {said.decode()[-200:]}")
        self._look(self.finished)

    def is_killed(self, rng: random.Random) -> bool:
        """Whether the kill came before the end."""
        process = self.start()
        time.sleep(rng.uniform(0, 1.05) * self.seconds)
        process.kill()
        process.communicate()
        self._look(self.check)
        return process.returncode == -signal.SIGKILL

    def has_no_space(self, rng: random.Random) -> bool:
        """Whether it failed, in one line."""
        process = self.start(max_bytes=int(10 ** rng.uniform(0, 6)))
        _, said = process.communicate()
        self._look(self.check)
        lines = said.decode(errors="replace").strip().splitlines()
        if process.returncode and (len(lines) != 1 or "Error:" in lines[0]):
            self.wrong.append(f"full disk: {' / '.join(lines)[-300:]}")
        return process.returncode != 0

    def is_done(self) -> bool:
        try:
            self.finished()
        except Exception:
            return False
        return True

    def _look(self, check: Callable[[], Any]) -> None:
        try:
            check()
        except Exception as error:
            self.wrong.append(f"{type(error).__name__}: {error}")


def if_there(path: Path, read: Callable[[Path], Any]) -> None:
    if path.exists():
        read(path)


def ends_with(end: str, path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith(end):
        raise ValueError(f"{path} is cut short")


class Growing:
    """A journal whose blocks become no fewer."""

    def __init__(self, path: Path) -> None:
        self._path, self._n_blocks = path, 0

    def __call__(self) -> None:
        if not self._path.exists():
            if self._n_blocks:
                raise ValueError("the journal is gone")
            return
        with closing(sqlite3.connect(self._path)) as journal:
            (sound,) = journal.execute("PRAGMA integrity_check").fetchone()
            tables = journal.execute("SELECT name FROM sqlite_master").fetchall()
            (n,) = journal.execute("SELECT COUNT(*) FROM block").fetchone() if tables else (0,)
        if sound != "ok" or n < self._n_blocks:
            raise ValueError(f"journal {sound}, {n} blocks after {self._n_blocks}")
        self._n_blocks = n


def profiled(folder: Path) -> Command:
    table, grows = folder / "table.json", Growing(journal_path(folder / "table.json"))

    def check() -> None:
        grows()
        if_there(table, load_table)

    arguments = ["profile", "--device", "fake:1", "--space", "mbv3", "--quick", "--networks", "10"]
    return Command("profile", folder, [*arguments, "--out", "table.json"], check,
                   lambda: load_table(table))  # fmt: skip


def trained(folder: Path) -> Command:
    lines = ["a,b,c,d,top1,latency_ms"]
    for row in itertools.product(range(5), repeat=4):
        text = ",".join(map(str, row))
        lines.append(f"{text},{0.5 + sum(row) / 50:.4f},{1 + sum(row) + row[0] / 7:.4f}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    run = folder / "run"

    def check() -> None:
        if_there(run / "config.json", lambda path: read_config(path.parent))
        for path in run.glob("*.safetensors"):
            read_arrays(path)
        if_there(run / "frontier.json", lambda path: json.loads(path.read_text()))

    arguments = ["train", "--space", "tabular:rows.csv", "--evaluations", "200", "--resume"]
    return Command("train", folder, [*arguments, "--out", "run"], check, lambda: load_run(run))


def imported(folder: Path) -> Command:
    keys = {key: {"count": 9, "mean": 0.5, "std": 0.1} for key in MobileNetV3Space().distinct_ops()}
    (folder / "ofa.yaml").write_text(yaml.safe_dump(keys))
    table = folder / "imported.json"
    arguments = ["table", "import", "ofa.yaml", "--format", "ofa-yaml", "--out", "imported.json"]
    return Command("table import", folder, arguments, lambda: if_there(table, load_table),
                   lambda: load_table(table))  # fmt: skip


def exported(folder: Path) -> Command:
    space = MobileNetV3Space()
    arch = str(space.extremes()[0])

    def check() -> int:
        networks = list((folder / "out").glob("*.onnx"))
        weights = list((folder / "out").glob("*.safetensors"))
        for path in networks:
            read_onnx(path)
        for path in weights:
            read_arrays(path)
        return len(networks) + len(weights)

    def whole() -> None:
        if check() != 2:
            raise ValueError("not all is exported")

    arguments = ["space", "export", "--space", "mbv3", "--arch", arch]
    return Command("space export", folder, [*arguments, "--export", "onnx,torch", "--out", "out"],
                   check, whole)  # fmt: skip


def reported(folder: Path) -> Command:
    of_run = trained(folder)
    of_run.ends()
    page = folder / "report.html"
    whole = partial(ends_with, "</html>")
    arguments = ["report", "--run", "run", "--out", "report.html"]
    return Command("report", folder, arguments, lambda: if_there(page, whole), lambda: whole(page))


MAKERS = {"profile": profiled, "train": trained, "import": imported, "export": exported,
          "report": reported}  # fmt: skip
ANEW = {  # once it is done, else nothing is left to do
    "profile": ("table.*",), "train": ("run/*",), "import": ("imported.json",),
    "export": ("out/*",), "report": ("report.html",),
}  # fmt: skip


def figures(name: str, n_kills: int, n_full: int, seed: int) -> dict[str, Any]:
    """Faults injected into one command, and what was wrong after them."""
    rng = random.Random(f"{name} {seed}")
    killed = failed = left = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command = MAKERS[name](folder)
        command.ends()
        for fault in ["kill"] * n_kills + ["full"] * n_full:
            if fault == "kill":
                killed += command.is_killed(rng)
            else:
                failed += command.has_no_space(rng)
            for found in folder.rglob(TEMPORARY):
                found.unlink()
                left += 1
            if command.is_done():
                for pattern in ANEW[name]:
                    for path in folder.glob(pattern):
                        path.unlink()
                command = fresh(name, command)
        command.ends()
    row = {"command": command.name, "kills": killed, "full_disks": failed, "temporary_left": left,
           "wrong": command.wrong}  # fmt: skip
    print(f"{command.name:14}{killed:>7}{failed:>7}{left:>10}{len(command.wrong):>7}", flush=True)
    for what in sorted(set(command.wrong))[:5]:
        print(f"    {what}", flush=True)
    return row


def fresh(name: str, command: Command) -> Command:
    """The same with nothing measured yet."""
    if name == "report":
        return command
    again = MAKERS[name](command.folder)
    again.seconds, again.wrong = command.seconds, command.wrong
    return again


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commands", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--full-disks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/faults.json"))
    arguments = parser.parse_args()
    print(f"{'':14}{'kills':>7}{'full':>7}{'left over':>10}{'wrong':>7}")
    rows = [
        figures(name, arguments.kills, arguments.full_disks, arguments.seed)
        for name in arguments.commands
    ]
    write_json(arguments.out, {"rows": rows})


if __name__ == "__main__":
    main()
