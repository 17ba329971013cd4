"""Raw samples beside the table: SQLite in WAL mode, one transaction per measurement.

A process killed at any moment loses at most the block in flight; the JSON table is always
rebuilt from here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from profiler.devices.base import DeviceInfo, epoch_of
from profiler.errors import InvalidInputError
from profiler.measuring.records import (
    Block,
    Condition,
    Kernels,
    Outcome,
    SweepReport,
    SweepTimes,
    block_of_row,
    kernels_of,
    known,
    stored_time,
)
from profiler.measuring.stats import Floats, are_latencies
from profiler.measuring.stopping import Decision
from profiler.models.cold_start import ColdStart
from profiler.system.atomic import make_folder
from profiler.system.context_manager import Closing
from profiler.system.sqlite_files import read_only_address, remove_database

JOURNAL_VERSION = 1
MAX_CELL_BYTES = 1 << 26  # a damaged file may say that it has one of a gigabyte

_SCHEMA = """
CREATE TABLE launch (          -- a sweep, from its start until it ends or is cut off
    id INTEGER PRIMARY KEY,
    epoch TEXT NOT NULL,       -- boot and runtime version: results within one are comparable
    started TEXT NOT NULL,
    device TEXT NOT NULL,      -- DeviceInfo as JSON
    protocol TEXT NOT NULL     -- MeasuringProtocol as JSON
);
CREATE TABLE reference (       -- latency of each canary that results of an epoch refer to
    epoch TEXT NOT NULL,
    canary TEXT NOT NULL,
    reference_ms REAL NOT NULL,
    PRIMARY KEY (epoch, canary)
);
CREATE TABLE block (           -- a canary, then samples of one configuration
    id INTEGER PRIMARY KEY,
    launch INTEGER NOT NULL REFERENCES launch(id),
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    started_s REAL NOT NULL,   -- since its sweep began
    spent_s REAL NOT NULL,
    runs INTEGER NOT NULL,     -- per sample
    samples_ms TEXT NOT NULL,  -- JSON list
    canary TEXT NOT NULL,      -- which one preceded; empty where none is used
    canary_ms REAL,
    flags TEXT NOT NULL        -- JSON list
);
CREATE INDEX block_key ON block(key);
CREATE TABLE outcome (         -- a configuration that is done, or cannot be measured
    key TEXT PRIMARY KEY,
    launch INTEGER NOT NULL REFERENCES launch(id),
    name TEXT NOT NULL,
    decision TEXT NOT NULL,    -- converged | capped | failed
    message TEXT NOT NULL
);
"""

_LATER = """                      -- journals of older versions lack it
CREATE TABLE IF NOT EXISTS times (    -- where a sweep's time went beside its blocks, so far
    launch INTEGER PRIMARY KEY REFERENCES launch(id),
    wall_s REAL NOT NULL,
    warm_up_s REAL NOT NULL,
    waited_s REAL NOT NULL,
    steady INTEGER NOT NULL           -- whether the warm-up reached a steady state
);
CREATE TABLE IF NOT EXISTS ran (      -- what the runtime made of a model file
    epoch TEXT NOT NULL,
    name TEXT NOT NULL,
    kernels TEXT NOT NULL,            -- JSON list of key and share
    PRIMARY KEY (epoch, name)
);
CREATE TABLE IF NOT EXISTS start (    -- what the first use of a network costs
    epoch TEXT NOT NULL,
    key TEXT NOT NULL,
    load_ms REAL NOT NULL,
    first_run_ms REAL NOT NULL,
    peak_memory_mb REAL,              -- NULL where nothing tells it
    PRIMARY KEY (epoch, key)
);
CREATE TABLE IF NOT EXISTS condition (-- what a device under sustained load told of itself
    launch INTEGER NOT NULL REFERENCES launch(id),
    at_s REAL NOT NULL,               -- since its sweep began
    temperature_c REAL,
    clock_mhz REAL
);
"""

_TABLES = {"launch", "reference", "block", "outcome"}


def journal_path(table: Path) -> Path:
    """Where the journal of a table lies.

    >>> journal_path(Path("tables/cpu.json")).name, journal_path(Path("w1.0")).name
    ('cpu.journal.sqlite', 'w1.0.journal.sqlite')
    """
    return table.with_name(f"{table.name.removesuffix('.json')}.journal.sqlite")


class Journal(Closing):
    """Append-only record of a sweep; in memory only, with no path.

    A reader changes nothing, neither in the file nor beside it.

    Raises:
        InvalidInputError: the file is not a journal of this version, or cannot be written.
    """

    def __init__(self, path: Path | None, *, fresh: bool = False, read_only: bool = False) -> None:
        self._path = path
        if path is not None and not read_only:
            make_folder(path)
        if path is not None and fresh:
            remove_database(path.resolve())
        address = ":memory:" if path is None else str(path)
        if read_only and path is not None:
            address = read_only_address(path)
        try:
            self._db = sqlite3.connect(address, isolation_level=None, uri=read_only)
            self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES)
        except sqlite3.OperationalError as error:
            raise InvalidInputError(f"cannot open {path}: {error}") from None
        try:
            self._check(path, new_allowed=not read_only)
            if not read_only:
                self._prepare()
        except sqlite3.OperationalError as error:  # locked, or a disk that fails: not --fresh
            self.close()
            raise InvalidInputError(f"cannot open {path}: {error}") from None
        except (sqlite3.DatabaseError, UnicodeDecodeError, MemoryError) as error:
            self.close()
            why = str(error) or "it asks for more memory than there is"
            advice = "" if read_only else "; begin anew with --fresh"  # a reader keeps what it has
            raise InvalidInputError(f"{path} is not a journal ({why}){advice}") from None
        except InvalidInputError:
            self.close()
            raise

    def _check(self, path: Path | None, *, new_allowed: bool) -> None:
        """Refuse what is no journal before anything is written to it."""
        rows = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in rows}
        if not tables and new_allowed:
            return
        if not tables >= _TABLES:
            raise InvalidInputError(f"{path} is not a journal: it is a database of something else")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version != JOURNAL_VERSION:
            raise InvalidInputError(
                f"{path} is a journal of version {version}, this tool reads {JOURNAL_VERSION}; "
                "begin anew with --fresh"
            )

    def _prepare(self) -> None:
        """Set up the connection, and a new file."""
        # WAL survives a killed process; NORMAL may lose the last rows only with the power
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if int(self._db.execute("PRAGMA user_version").fetchone()[0]) == 0:
            self._db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {JOURNAL_VERSION}; COMMIT;"
            )
        self._db.executescript(_LATER)

    @property
    def path(self) -> Path | None:
        return self._path

    @contextmanager
    def telling(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Interrupted within, it says how much the file keeps."""
        try:
            yield
        except KeyboardInterrupt:
            if self._path is not None:
                tell(self.extent())
            raise

    def begin_sweep(self, info: DeviceInfo, protocol: Mapping[str, object], started: str) -> int:
        """Record that a sweep starts; its number."""
        cursor = self._write(
            "INSERT INTO launch (epoch, started, device, protocol) VALUES (?, ?, ?, ?)",
            (epoch_of(info), started, json.dumps(asdict(info)), json.dumps(protocol)),
        )
        return int(cursor.lastrowid or 0)

    def started(self, sweep: int | None = None) -> str:
        """When a sweep began; by default the last: a table is as old as what it was made of."""
        query = "SELECT started FROM launch WHERE id = COALESCE(?, (SELECT MAX(id) FROM launch))"
        with self._read():
            (started,) = self._db.execute(query, (sweep,)).fetchone()
            return str(started)

    def set_times(self, sweep: int, times: SweepTimes) -> None:
        """Record where a sweep's time went so far."""
        self._write(
            "INSERT OR REPLACE INTO times VALUES (?, ?, ?, ?, ?)",
            (sweep, times.wall_s, times.warm_up_s, times.waited_s, times.steady),
        )

    def add_block(self, key: str, block: Block) -> None:
        self._write(
            "INSERT INTO block (launch, key, name, started_s, spent_s, runs, samples_ms,"
            " canary, canary_ms, flags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                block.sweep, key, block.name, block.started_s, block.spent_s, block.runs,
                json.dumps(block.samples_ms), block.canary, block.canary_ms,
                json.dumps(block.flags),
            ),
        )  # fmt: skip

    def add_outcome(self, key: str, outcome: Outcome) -> None:
        self._write(
            "INSERT OR REPLACE INTO outcome (key, launch, name, decision, message)"
            " VALUES (?, ?, ?, ?, ?)",
            (key, outcome.sweep, outcome.name, outcome.decision, outcome.message),
        )

    def set_kernels(self, epoch: str, name: str, kernels: Kernels) -> None:
        """Record which kernels ran in a model, and the share of each where it is known."""
        self._write(
            "INSERT OR REPLACE INTO ran VALUES (?, ?, ?)", (epoch, name, json.dumps(kernels))
        )

    def kernels(self, epoch: str) -> dict[str, Kernels]:
        """What `set_kernels` recorded in an epoch, by the model's name."""
        query = "SELECT name, kernels FROM ran WHERE epoch = ?"
        with self._read():
            return {name: kernels_of(text) for name, text in self._db.execute(query, (epoch,))}

    def set_start(self, epoch: str, key: str, start: ColdStart) -> None:
        """Record how a configuration started."""
        self._write(
            "INSERT OR REPLACE INTO start VALUES (?, ?, ?, ?, ?)",
            (epoch, key, start.load_ms, start.first_run_ms, start.peak_memory_mb),
        )

    def starts(self, epoch: str) -> dict[str, ColdStart]:
        """What `set_start` recorded in an epoch, by key."""
        query = "SELECT key, load_ms, first_run_ms, peak_memory_mb FROM start WHERE epoch = ?"
        with self._read():
            return {
                key: ColdStart(
                    stored_time(load_ms),
                    stored_time(first_ms),
                    stored_time(peak_mb) if peak_mb else None,  # 0 in those of older versions
                )
                for key, load_ms, first_ms, peak_mb in self._db.execute(query, (epoch,))
            }

    def add_condition(self, sweep: int, one: Condition) -> None:
        self._write(
            "INSERT INTO condition VALUES (?, ?, ?, ?)",
            (sweep, one.at_s, one.temperature_c, one.clock_mhz),
        )

    def conditions(self, sweep: int) -> list[Condition]:
        """What `add_condition` recorded of a sweep, in order."""
        query = "SELECT at_s, temperature_c, clock_mhz FROM condition WHERE launch = ?"
        with self._read():
            return [
                Condition(stored_time(at_s), known(temperature_c), known(clock_mhz))
                for at_s, temperature_c, clock_mhz in self._db.execute(query, (sweep,))
            ]

    def set_reference_ms(self, epoch: str, canary: str, reference_ms: float) -> None:
        """Fix what a canary's latency is compared with in an epoch; the first value stays."""
        self._write(
            "INSERT OR IGNORE INTO reference VALUES (?, ?, ?)", (epoch, canary, reference_ms)
        )

    def references_ms(self, epoch: str) -> dict[str, float]:
        """Reference latency of each canary in an epoch; empty before its first sweep ended."""
        query = "SELECT canary, reference_ms FROM reference WHERE epoch = ?"
        with self._read():
            return {name: stored_time(ms) for name, ms in self._db.execute(query, (epoch,))}

    def canary_series(self, sweep: int, canary: str) -> tuple[Floats, Floats]:
        """Times in s and samples in ms of a canary in one sweep, [n] each."""
        query = "SELECT started_s, canary_ms FROM block WHERE launch = ? AND canary = ? ORDER BY id"
        with self._read():
            rows = self._db.execute(query, (sweep, canary)).fetchall()
            times_s, samples_ms = np.array(rows, dtype=np.float64).reshape(-1, 2).T
        sound = are_latencies(samples_ms)
        return times_s[sound], samples_ms[sound]

    def sweeps(self, epoch: str) -> list[int]:
        query = "SELECT id FROM launch WHERE epoch = ? ORDER BY id"
        with self._read():
            return [row[0] for row in self._db.execute(query, (epoch,))]

    def sweeps_of(self, key: str, epoch: str) -> list[int]:
        """Those that measured a configuration in an epoch."""
        query = (
            "SELECT DISTINCT launch FROM block JOIN launch ON launch.id = block.launch"
            " WHERE key = ? AND epoch = ? ORDER BY launch"
        )
        with self._read():
            return [row[0] for row in self._db.execute(query, (key, epoch))]

    def report(self, sweep: int) -> SweepReport:
        """Where a sweep's time went; one that was killed lasted until its last block."""
        of_blocks = (
            "SELECT COUNT(*), TOTAL(spent_s), COALESCE(MAX(started_s + spent_s), 0) FROM block"
            " WHERE launch = ?"
        )
        beside = "SELECT wall_s, warm_up_s, waited_s, steady FROM times WHERE launch = ?"
        with self._read():
            n_blocks, spent_s, end_s = self._db.execute(of_blocks, (sweep,)).fetchone()
            row = self._db.execute(beside, (sweep,)).fetchone()
            times = SweepTimes(*map(stored_time, row)) if row else SweepTimes()
        return SweepReport(
            wall_s=max(times.wall_s, end_s),
            measuring_s=times.warm_up_s + spent_s,
            waited_s=times.waited_s,
            n_blocks=n_blocks,
            steady=bool(times.steady),
        )

    def blocks(self, key: str, *, epoch: str | None = None) -> list[Block]:
        """Blocks of a configuration in order of measurement, of one epoch or of all.

        Without those of older versions that hold a sample that is no latency.
        """
        query = (
            "SELECT block.name, started_s, spent_s, runs, samples_ms, canary, canary_ms, flags,"
            " launch, epoch FROM block JOIN launch ON launch.id = block.launch"
            " WHERE key = ?1 AND (?2 IS NULL OR epoch = ?2) ORDER BY block.id"
        )
        with self._read():
            blocks = [block_of_row(*row) for row in self._db.execute(query, (key, epoch))]
            return [one for one in blocks if are_latencies(np.array(one.samples_ms, float)).all()]

    def outcomes(self) -> dict[str, Outcome]:
        """What is done or failed, by key."""
        query = (
            "SELECT key, launch, outcome.name, decision, message, epoch FROM outcome"
            " JOIN launch ON launch.id = outcome.launch"
        )
        with self._read():
            return {
                key: Outcome(sweep, name, Decision(decision), message, epoch)
                for key, sweep, name, decision, message, epoch in self._db.execute(query)
            }

    def extent(self) -> str:
        """How much it holds, in words.

        >>> with Journal(None) as journal:
        ...     journal.extent()
        'kept: 0 blocks of 0 configurations, 0 of them done'
        """
        with self._read():
            query = "SELECT COUNT(*), COUNT(DISTINCT key) FROM block"
            n_blocks, n_keys = self._db.execute(query).fetchone()
        done = sum(not outcome.failed for outcome in self.outcomes().values())
        return f"kept: {n_blocks:,} blocks of {n_keys} configurations, {done} of them done"

    def epochs(self) -> list[str]:
        """Epochs in the order they began."""
        query = "SELECT epoch FROM launch GROUP BY epoch ORDER BY MIN(id)"
        with self._read():
            return [row[0] for row in self._db.execute(query)]

    def _write(self, statement: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        """Raise InvalidInputError where the file is damaged, or the disk is full."""
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise InvalidInputError(f"cannot write {self._path}: {error}") from None

    @contextmanager
    def _read(self) -> Iterator[None]:
        """Raise InvalidInputError where the file holds other than what was written."""
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError, RecursionError, MemoryError) as error:
            raise InvalidInputError(f"cannot read {self._path}: {error}") from None

    def close(self) -> None:
        self._db.close()
