"""Whether files are whole, and what in them is done for good."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from pnag.runs.config import CONFIG_FILE
from pnag.runs.run import settings_of_run
from pnag.runs.verification import VERIFICATION_FILE, read_verification
from profiler.graph.from_onnx import read_onnx
from profiler.measuring.journal import journal_path
from profiler.measuring.model_files import read_model_report
from profiler.system.tensor_files import read_arrays, read_metadata
from profiler.tables.table import Verdict, load_table

TEMPORARY = ".pnag-*"  # what a kill may leave beside a file
JOURNALS = (".sqlite", ".sqlite-wal", ".sqlite-shm", ".jsonl")  # they grow, and are never replaced
JOURNALLED = {"block": "id, key, samples_ms", "ran": "epoch, name, kernels"}  # what of each table
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
    """All that is done for good in a folder: blocks, kernels that were asked for, accuracies,
    rounds and steps of training, networks that were verified.

    Raises:
        InvalidInputError: a file is damaged.
    """
    done: set[str] = set()
    for path in folder.rglob("*.sqlite"):
        with closing(copied(path)) as database:
            for table, columns in JOURNALLED.items():
                known = "SELECT 1 FROM sqlite_master WHERE name = ?"
                if database.execute(known, (table,)).fetchone():
                    rows = database.execute(f"SELECT {columns} FROM {table}")
                    done |= {f"{path.name} {table} {row}" for row in rows}
    for path in folder.rglob("checkpoint.safetensors"):
        done |= {f"{path.parent.name} {at}" for at in range(steps_in(path))}
    for path in folder.rglob(CONFIG_FILE):
        done |= {f"{path.parent.name} {at}" for at in range(rounds_finished(path.parent))}
    for path in folder.rglob(VERIFICATION_FILE):
        done |= {f"{path.parent.name} {arch}" for arch in measured_ms(path)}
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


def rounds_finished(run: Path) -> int:
    """Of a run that is finished, which has no checkpoint any more; else 0."""
    if "finished" not in json.loads((run / CONFIG_FILE).read_text()):
        return 0
    settings = settings_of_run(run)
    return settings.rounds * settings.n_learners


def files_in(folder: Path) -> dict[str, Path]:
    """By path within the folder, without journals."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in JOURNALS
    }


def check_close(path: Path, expected: Path) -> None:
    """Raise ValueError if what was measured is not what another session measured."""
    ours, theirs = measured_ms(path), measured_ms(expected)
    # which networks are verified hangs on what was measured of the first
    if ours.keys() != theirs.keys() and path.name != VERIFICATION_FILE:
        raise ValueError(f"{path.name}: other configurations: {min(ours.keys() ^ theirs.keys())}")
    for name in ours.keys() & theirs.keys():
        if abs(ours[name] / theirs[name] - 1) > CLOSE:
            raise ValueError(f"{path.name}: {name} takes {ours[name]} ms")


def measured_ms(path: Path) -> dict[str, float]:
    """By configuration, of a file of what was measured; nothing of any other.

    Raises:
        InvalidInputError: it is damaged.
        ValueError: something could not be measured.
    """
    if path.name == VERIFICATION_FILE:
        kept = read_verification(path.parent)
        return {one.arch: one.latency_ms for one in kept.networks} if kept else {}
    if path.suffix != ".json" or not journal_path(path).exists():
        return {}
    if "results" in json.loads(path.read_text()):
        results = read_model_report(path).results
        return {f"{one.model}, {one.threads} threads": one.latency_ms for one in results}
    table = load_table(path, partial=True)
    if table.failures:
        raise ValueError(f"{path.name}: {min(table.failures)} has no latency")
    ops = table.ops.items()
    found = {key: one.latency_ms for key, one in ops if one.verdict is not Verdict.TRANSFERRED}
    found |= {one.arch: one.latency_ms for one in table.networks}
    return found | ({} if table.calibration is None else {"calibrated": 1.0})
