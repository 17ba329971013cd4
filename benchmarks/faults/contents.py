"""Whether files are whole, and what in them is done for good."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from profiler.graph.from_onnx import read_onnx
from profiler.measuring.journal import journal_path
from profiler.system.tensor_files import read_arrays, read_metadata
from profiler.tables.table import load_table

TEMPORARY = ".pnag-*"  # what a kill may leave beside a file
JOURNALS = (".sqlite", ".sqlite-wal", ".sqlite-shm", ".jsonl")  # they grow, and are never replaced
CLOSE = 0.03  # of latencies of two sessions on the simulated device, relative


def ends_with(end: bytes) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        if not path.read_bytes().endswith(end):
            raise ValueError("cut short")

    return check


def sound_database(path: Path) -> None:
    with closing(copied(path)) as database:
        (answer,) = database.execute("PRAGMA integrity_check").fetchone()
    if answer != "ok":
        raise ValueError(answer)


WHOLE: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".safetensors": read_arrays,
    ".onnx": read_onnx,
    ".html": ends_with(b"</html>\n"),
    ".svg": ends_with(b"</svg>\n"),
    ".png": ends_with(b"IEND\xaeB`\x82"),
    ".csv": ends_with(b"\n"),
    ".yaml": ends_with(b"\n"),
    ".sqlite": sound_database,
}


def check_whole(path: Path) -> None:
    """Raise ValueError if the file is cut short or damaged."""
    try:
        WHOLE.get(path.suffix, Path.read_bytes)(path)
    except Exception as error:
        raise ValueError(f"{path.name} is not whole: {error}") from None


def copied(path: Path) -> sqlite3.Connection:
    """A database as the next command will find it; nothing of the file itself is touched."""
    with tempfile.TemporaryDirectory() as place:
        for suffix in ("", "-wal"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                shutil.copy(part, place)
        database = sqlite3.connect(Path(place) / path.name)
        database.execute("SELECT * FROM sqlite_master").fetchall()  # the log is read from here on
        whole = sqlite3.connect(":memory:")
        database.backup(whole)
        database.close()
    return whole


def committed(folder: Path) -> set[str]:
    """All that is done for good in a folder: blocks, accuracies, rounds and steps of training."""
    done: set[str] = set()
    for path in folder.rglob("*.sqlite"):
        with closing(copied(path)) as database:
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'block'").fetchone():
                rows = database.execute("SELECT id, key, samples_ms FROM block")
                done |= {f"{path.name} {row}" for row in rows}
    for path in folder.rglob("checkpoint.safetensors"):
        done |= {f"{path.parent.name} {at}" for at in range(steps_in(path))}
    for path in folder.glob(".accuracies.json.*.jsonl"):
        lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
        done |= {json.loads(line).get("arch", "") for line in lines}
    for path in folder.glob("accuracies.json"):
        done |= {row["arch"] for row in json.loads(path.read_text())["rows"]}
    return done - {""}


def steps_in(checkpoint: Path) -> int:
    """Rounds of a search, or steps of a supernet."""
    metadata = read_metadata(checkpoint)
    if "progress" in metadata:
        return sum(learner["rounds_done"] for learner in json.loads(metadata["progress"]))
    (facts,) = metadata.values()
    return int(json.loads(facts)["step"])


def files_in(folder: Path) -> dict[str, Path]:
    """By path within the folder, without journals."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in JOURNALS
    }


def check_close(path: Path, expected: Path) -> None:
    """Raise ValueError if a latency table says otherwise than one of another session."""
    if path.suffix != ".json" or not journal_path(path).exists():
        return
    ours, theirs = load_table(path), load_table(expected)
    if ours.ops.keys() != theirs.ops.keys() or ours.failures:
        raise ValueError(f"{path.name}: other ops, or failures")
    if (ours.calibration is None) != (theirs.calibration is None):
        raise ValueError(f"{path.name}: calibrated or not")
    for key, op in ours.ops.items():
        if abs(op.latency_ms / theirs.ops[key].latency_ms - 1) > CLOSE:
            raise ValueError(f"{path.name}: {key} takes {op.latency_ms} ms")
