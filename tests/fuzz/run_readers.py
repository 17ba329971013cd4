"""Readers of what training leaves, of checkpoints and images, and of the service's requests."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

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
from pnag.supernet import checkpoint
from pnag.supernet.accuracy_table import EvaluationJob, exported_settings
from pnag.supernet.checkpoint import (
    compress_supernet,
    file_digest,
    load_supernet,
    only_subnet,
    read_facts,
)
from pnag.supernet.data import Dataset, fingerprint, open_dataset
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.evaluate import EvaluationSettings
from pnag.supernet.train_run import cut_metrics
from pnag.supernet.workers import Workers
from profiler.spaces.checkpoint import read_torch_state
from profiler.spaces.mobilenetv3 import BACKBONES, MobileNetV3Space
from profiler.tables.table import LatencyTable
from profiler.terminal import SILENT
from tests.fuzz.campaign import Reader
from tests.fuzz.file_readers import few_ops, of_file
from tests.fuzz.mutations import ARRAYS, BYTES, JSON, JSON_LINES, TENSORS, Edit
from tests.pnag.landscapes import tabular_problem, write_tabular
from tests.pnag.supernet.supernet_data import (
    coloured_dataset,
    coloured_images,
    encoded,
    write_jpeg_npz,
    write_supernet_and_images,
)
from tests.pnag.supernet.test_data import python2_pickle

SMALL = TrainSettings(
    n_evaluations=27, rounds=2, evaluator_steps=2, evaluator_full_steps=1, generator_steps=2,
    evaluator_hidden=4, generator_hidden=4, n_budgets=2,
)  # fmt: skip
CIFAR = MobileNetV3Space("mbv3-cifar", 1.0, 32)
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
    run = load_run(folder, problem)
    made = run.generate([run.reachable_ms[1]])
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
        with patch.object(learner_files, "new_learners", lambda *given: learners()):
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


def _verification(folder: Path) -> Sequence[bytes]:
    table: LatencyTable = few_ops()
    text = table.to_json().encode()
    kept = KeptVerification(
        latency_table=hashlib.sha256(text).hexdigest(), device=table.device, same_device=True,
        networks=table.networks, calibration=table.calibration, picks=(), created="now",
        tool="test",
    )  # fmt: skip
    kept.save(folder)
    return [(folder / VERIFICATION_FILE).read_bytes()]


def _kept(data: bytes, folder: Path) -> Any:
    (folder / "latency_table.json").write_bytes(few_ops().to_json().encode())
    (folder / VERIFICATION_FILE).write_bytes(data)
    return read_verification(folder)


# --- Checkpoints and images ----------------------------------------------------------------


NARROW = replace(
    BACKBONES["mbv3-cifar"], stage_channels=(8,) * 5, stem_channels=8, final_expand_channels=8,
    last_channels=8,
)  # fmt: skip
_network = cache(ElasticMobileNetV3)  # making it is no part of reading


def _supernet(folder: Path) -> Sequence[bytes]:
    """As trained, and in 8 bits."""
    with patch.dict(BACKBONES, {"mbv3-narrow": NARROW}):
        space = MobileNetV3Space("mbv3-narrow", 1.0, 32)
        path = write_supernet_and_images(folder, space) / "supernet.safetensors"
        trained = path.read_bytes()
        compress_supernet(path).save(path)
        return [trained, path.read_bytes()]


def _checkpoint(path: Path) -> Any:
    with (
        patch.dict(BACKBONES, {"mbv3-narrow": NARROW}),
        patch.object(checkpoint, "ElasticMobileNetV3", _network),
    ):
        read_facts(path)
        only_subnet(path)
        load_supernet(path)


def _records(folder: Path) -> Sequence[bytes]:
    records = [{"step": step, "epoch": 0, "loss": 2.5, "images_per_s": 99.5} for step in range(4)]
    records.insert(2, {"step": 1, "top1_smallest": 0.25, "top1_largest": 0.5})
    return ["".join(json.dumps(record) + "\n" for record in records).encode()]


def _cut(path: Path) -> Any:
    cut_metrics(path, 3)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(record["step"] < 3 for record in kept)


RECIPE: dict[str, Any] = {"settings": {"batch_size": 200}}


def _evaluations(folder: Path) -> Sequence[bytes]:
    archs = [CIFAR.format(row) for row in CIFAR.sample(3, np.random.default_rng(0))]
    rows = [{"arch": arch, "top1": 0.5} for arch in archs]
    return ["".join(json.dumps(row) + "\n" for row in [{"recipe": RECIPE}, *rows]).encode()]


def _evaluated(path: Path) -> Any:
    """The table of what a journal says is done; both are removed again."""
    job = EvaluationJob(path.parent / "t.json", RECIPE, "colours", "a test")
    arch = CIFAR.format(CIFAR.sample(1, np.random.default_rng(1))[0])
    with SILENT.progress("evaluating", 1) as progress:
        table = job.run(CIFAR, lambda arch: 0.75, [arch], Workers(), progress)
    job.discard()
    assert ((table.top1 >= 0) & (table.top1 <= 1)).all() and table.top1[0] == 0.75
    return table.top1


@cache
def _images_of_recipe() -> Dataset:
    return coloured_dataset(2, 2)


def _recipe(folder: Path) -> Sequence[bytes]:
    weights = folder / "weights.pth"
    weights.write_bytes(b"weights")
    document = {
        "checkpoint_sha256": file_digest(weights), "space": dict(CIFAR.facts), "data": "colours",
        "data_fingerprint": fingerprint(_images_of_recipe()),
        "settings": asdict(EvaluationSettings()),
    }  # fmt: skip
    return [json.dumps(document).encode()]


def _recipe_read(path: Path) -> Any:
    weights = path.with_name("weights.pth")
    weights.write_bytes(b"weights")
    settings = exported_settings(path, weights, CIFAR, _images_of_recipe())
    assert all(isinstance(n, int) for n in (settings.batch_size, settings.seed))
    return settings


def _torch_state(folder: Path) -> Sequence[bytes]:
    import torch

    out = io.BytesIO()
    torch.save({"state_dict": {"a.weight": torch.zeros(2, 2), "b": torch.ones(3)}}, out)
    return [out.getvalue()]


def _images(folder: Path) -> Sequence[bytes]:
    write_jpeg_npz(folder / "seed.npz", n_train=10, n_test=1)
    return [(folder / "seed.npz").read_bytes()]


def _dataset(path: Path) -> Any:
    return fingerprint(open_dataset(path, CIFAR))


def _cifar_batch(folder: Path) -> Sequence[bytes]:
    images, labels = coloured_images(2, 0)
    return [b"".join(bytes([label]) + image.tobytes()
                     for label, image in zip(labels.tolist(), images, strict=True))]  # fmt: skip


def _cifar_pickle(folder: Path) -> Sequence[bytes]:
    images, labels = coloured_images(2, 0)
    rows = images.reshape(2, -1)
    return [python2_pickle(rows, labels.tolist(), fortran=order) for order in (False, True)]


def _cifar(first: str, test: str) -> Callable[[bytes, Path], Any]:
    """Every batch is the same one."""

    def read(data: bytes, folder: Path) -> Any:
        (folder / test).write_bytes(data)
        for at in range(1, 6):
            batch = folder / first.format(at)
            if not batch.exists():
                batch.symlink_to(folder / test)
        return _dataset(folder)

    return read


def _image_files(folder: Path) -> Sequence[bytes]:
    images, _ = coloured_images(1, 0)
    return [encoded(images[0], kind) for kind in ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP")]


def _image_folder(data: bytes, folder: Path) -> Any:
    """One image of a folder is another file."""
    other = folder / "train" / "class0" / "image.png"
    if not other.exists():
        sound = encoded(coloured_images(1, 0)[0][0], "PNG")
        for split, at in itertools.product(("train", "val"), range(10)):
            image = folder / split / f"class{at}" / "image.png"
            image.parent.mkdir(parents=True)
            image.write_bytes(sound)
    other.write_bytes(data)
    return _dataset(folder)


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
        of_file("supernet", "s.safetensors", TENSORS, _checkpoint, _supernet),
        of_file("supernet-metrics", "metrics.jsonl", JSON_LINES, _cut, _records),
        of_file("evaluation-journal", ".t.json.0.jsonl", JSON_LINES, _evaluated, _evaluations),
        of_file("recipe", "t.recipe.json", JSON, _recipe_read, _recipe),
        of_file("torch-state", "s.pth", BYTES, read_torch_state, _torch_state),
        of_file("image-npz", "i.npz", ARRAYS, _dataset, _images),
        Reader("cifar-binary", _cifar_batch, BYTES, _cifar("data_batch_{}.bin", "test_batch.bin")),
        Reader("cifar-python", _cifar_pickle, BYTES, _cifar("data_batch_{}", "test_batch")),
        Reader("image-file", _image_files, BYTES, _image_folder),
        Reader("serve", _bodies, JSON, _request),
    ]
