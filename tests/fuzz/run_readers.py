"""Readers of runs and of the service's requests."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from pnag.generated import GeneratedArchitecture
from pnag.learning.settings import TrainSettings
from pnag.learning.train import new_learners
from pnag.runs import learner_files
from pnag.runs.config import read_config
from pnag.runs.inputs import tabular_inputs
from pnag.runs.learner_files import CHECKPOINT, load_checkpoint, save_checkpoint
from pnag.runs.metrics_log import MetricsLog
from pnag.runs.run import Run, judged, load_run, settings_of_run, train_run
from pnag.runs.verification import VERIFICATION_FILE, KeptVerification, read_verification
from pnag.search.problem import Problem
from pnag.serve.app import create_app
from profiler.tables.table import LatencyTable
from tests.fuzz.campaign import Reader
from tests.fuzz.file_readers import few_ops, of_file
from tests.fuzz.mutations import JSON, JSON_LINES, TENSORS, Edit
from tests.pnag.landscapes import tabular_problem, write_tabular

SMALL = TrainSettings(
    n_evaluations=27, rounds=2, evaluator_steps=2, evaluator_full_steps=1, generator_steps=2,
    evaluator_hidden=4, generator_hidden=4, n_budgets=2,
)  # fmt: skip
ANSWERS = {200, 400, 409, 413, 422}


@cache
def trained() -> Path:
    """A finished run on a table of 27 rows."""
    folder = Path(_place().name)
    space = tabular_problem(n_positions=3, n_choices=3).space
    train_run(tabular_inputs(write_tabular(folder / "bench.csv", space)), SMALL, folder / "run")
    return folder / "run"


@cache
def _place() -> TemporaryDirectory[str]:
    """Until the process ends."""
    return TemporaryDirectory(prefix="pnag-fuzz-")


def of_run(name: str, file: str, edits: Sequence[Edit], load: Callable[[Path], Any]) -> Reader:
    """A run of which one file is another."""

    def read(data: bytes, folder: Path) -> Any:
        run = folder / "run"
        if not run.exists():
            shutil.copytree(trained(), run)
        (run / file).write_bytes(data)
        try:
            return load(run)
        finally:
            shutil.copy(trained() / file, run / file)

    return Reader(name, lambda folder: [(trained() / file).read_bytes()], edits, read)


def _opened(folder: Path, problem: Problem | None = None) -> Any:
    """What opening it generates."""
    made: list[GeneratedArchitecture] = []
    generate = Run.generate

    def noted(run: Run, budgets_ms: Sequence[float]) -> None:
        made.extend(generate(run, budgets_ms))

    with patch.object(Run, "generate", noted):
        load_run(folder, problem)
    return [(one.latency_ms, one.top1) for one in made]


@cache
def _finished() -> Run:
    return load_run(trained())


def _metrics(folder: Path) -> Any:
    """As a training that goes on has them."""
    log = MetricsLog(folder, _finished().learners)
    assert len(log.past_rounds()) == log.n_rounds
    return log.n_rounds


def _weighed(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Networks that are made once: what a file holds takes the place of all that they learned."""
    learners = cache(lambda: new_learners(_finished().problem, SMALL))

    def weighed(path: Path) -> Any:
        made = learners()
        with patch.object(learner_files, "new_learners", lambda *given: made):
            return read(path)

    return weighed


def _generated(folder: Path) -> Any:
    return _opened(folder, _finished().problem)


def _checkpoint_of_run(folder: Path) -> Sequence[bytes]:
    save_checkpoint(folder, _finished().learners)
    return [(folder / CHECKPOINT).read_bytes()]


def _gone_on_from(path: Path) -> Any:
    learners = load_checkpoint(path.parent, _finished().problem, SMALL)
    return [(one.rounds_done, one.archive.top1, one.archive.cost_ms) for one in learners]


def _config(folder: Path) -> Any:
    read_config(folder)
    assert TrainSettings.from_json(settings_of_run(folder).to_json()) == settings_of_run(folder)
    return _opened(folder)


@cache
def _text_of_table() -> bytes:
    return few_ops().to_json().encode()


def _verification(folder: Path) -> Sequence[bytes]:
    table: LatencyTable = few_ops()
    kept = KeptVerification(
        latency_table=hashlib.sha256(_text_of_table()).hexdigest(), device=table.device,
        same_device=True, networks=table.networks, calibration=table.calibration, picks=(),
        created="now", tool="test",
    )  # fmt: skip
    kept.save(folder)
    return [(folder / VERIFICATION_FILE).read_bytes()]


def _kept(data: bytes, folder: Path) -> Any:
    (folder / "latency_table.json").write_bytes(_text_of_table())
    (folder / VERIFICATION_FILE).write_bytes(data)
    return read_verification(folder)


# --- Requests --------------------------------------------------------------------------------


@cache
def _service() -> tuple[Any, asyncio.AbstractEventLoop]:
    run: Run = load_run(trained())
    return create_app(run), asyncio.new_event_loop()


def _request(data: bytes, folder: Path) -> Any:
    app, loop = _service()
    status, body = loop.run_until_complete(_posted(app, data))
    assert status in ANSWERS, (status, body)
    answer = json.loads(body)
    assert status == 200 or ("\n" not in answer["detail"] and answer["detail"])
    return answer


async def _posted(app: Any, data: bytes) -> tuple[int, bytes]:
    """Status and body of POST /generate, by the ASGI protocol."""
    messages = [{"type": "http.request", "body": data, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/generate", "raw_path": b"/generate",
        "query_string": b"", "root_path": "", "scheme": "http", "http_version": "1.1",
        "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return int(sent[0]["status"]), body


def _bodies(folder: Path) -> Sequence[bytes]:
    documents = [
        {"budgets_ms": [4.0, 6.5], "samples": 4, "seed": 1, "pure": True},
        {"budgets_ms": [5], "confidence": None, "max_madds": None},
        {"budgets_ms": [9.0], "max_params": 6e6},
    ]
    return [json.dumps(document).encode() for document in documents]


def run_readers() -> list[Reader]:
    return [
        of_run("run-config", "config.json", JSON, _config),
        of_run("run-metrics", "metrics.jsonl", JSON_LINES, _metrics),
        of_run("run-frontier", "frontier.json", JSON, judged),
        of_file("run-checkpoint", CHECKPOINT, TENSORS, _weighed(_gone_on_from), _checkpoint_of_run),
        of_run("run-generator", "generator.safetensors", TENSORS, _weighed(_generated)),
        of_run("run-archive", "archive.safetensors", TENSORS, _weighed(_generated)),
        Reader("verification", _verification, JSON, _kept),
        Reader("serve", _bodies, JSON, _request),
    ]
