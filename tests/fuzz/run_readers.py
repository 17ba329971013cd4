"""Readers of what training leaves, of checkpoints and images, and of the service's requests."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pnag.learning.settings import TrainSettings
from pnag.runs.config import read_config
from pnag.runs.inputs import tabular_inputs
from pnag.runs.run import Run, load_run, settings_of_run, train_run
from pnag.runs.verification import VERIFICATION_FILE, KeptVerification, read_verification
from pnag.serve.app import create_app
from pnag.supernet.checkpoint import load_supernet, only_subnet, read_facts
from pnag.supernet.data import fingerprint, open_dataset
from profiler.spaces.checkpoint import read_torch_state
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import LatencyTable
from tests.fuzz.campaign import Reader
from tests.fuzz.file_readers import few_ops, of_file
from tests.fuzz.mutations import ARRAYS, BYTES, JSON, JSON_LINES, TENSORS, Edit
from tests.pnag.landscapes import tabular_problem, write_tabular
from tests.pnag.supernet.supernet_data import (
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


def _opened(folder: Path) -> Any:
    run = load_run(folder)
    made = run.generate([run.reachable_ms[1]])
    return [(one.latency_ms, one.top1) for one in made]


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


@cache
def _supernet() -> bytes:
    with TemporaryDirectory() as place:
        written = write_supernet_and_images(Path(place), CIFAR)
        return (written / "supernet.safetensors").read_bytes()


def _checkpoint(path: Path) -> Any:
    read_facts(path)
    only_subnet(path)
    load_supernet(path)


def _torch_state(folder: Path) -> Sequence[bytes]:
    import torch

    out = io.BytesIO()
    torch.save({"state_dict": {"a.weight": torch.zeros(2, 2), "b": torch.ones(3)}}, out)
    return [out.getvalue()]


def _images(folder: Path) -> Sequence[bytes]:
    write_jpeg_npz(folder / "seed.npz", n_train=12, n_test=10)
    return [(folder / "seed.npz").read_bytes()]


def _dataset(path: Path) -> Any:
    return fingerprint(open_dataset(path, CIFAR))


def _cifar_batch(folder: Path) -> Sequence[bytes]:
    images, labels = coloured_images(10, 0)
    return [b"".join(bytes([label]) + image.tobytes()
                     for label, image in zip(labels.tolist(), images, strict=True))]  # fmt: skip


def _cifar_pickle(folder: Path) -> Sequence[bytes]:
    images, labels = coloured_images(10, 0)
    rows = images.reshape(10, -1)
    return [python2_pickle(rows, labels.tolist(), fortran=order) for order in (False, True)]


def _cifar(first: str, test: str) -> Callable[[bytes, Path], Any]:
    """One batch that is another; the others are as the seed."""

    def read(data: bytes, folder: Path) -> Any:
        for at in range(1, 6):
            (folder / first.format(at)).write_bytes(data)
        (folder / test).write_bytes(data)
        return _dataset(folder)

    return read


def _image_files(folder: Path) -> Sequence[bytes]:
    images, _ = coloured_images(1, 0)
    return [encoded(images[0], kind) for kind in ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP")]


def _image_folder(data: bytes, folder: Path) -> Any:
    """One image of a folder is another file."""
    sound = encoded(coloured_images(1, 0)[0][0], "PNG")
    for split in ("train", "val"):
        for at in range(10):
            image = folder / split / f"class{at}" / "image.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(data if (split, at) == ("train", 0) else sound)
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
        of_run("run-metrics", "metrics.jsonl", JSON_LINES, _opened),
        of_run("run-generator", "generator.safetensors", TENSORS, _opened),
        of_run("run-archive", "archive.safetensors", TENSORS, _opened),
        Reader("verification", _verification, JSON, _kept),
        of_file("supernet", "s.safetensors", TENSORS, _checkpoint, lambda folder: [_supernet()]),
        of_file("torch-state", "s.pth", BYTES, read_torch_state, _torch_state),
        of_file("image-npz", "i.npz", ARRAYS, _dataset, _images),
        Reader("cifar-binary", _cifar_batch, BYTES, _cifar("data_batch_{}.bin", "test_batch.bin")),
        Reader("cifar-python", _cifar_pickle, BYTES, _cifar("data_batch_{}", "test_batch")),
        Reader("image-file", _image_files, BYTES, _image_folder),
        Reader("serve", _bodies, JSON, _request),
    ]
