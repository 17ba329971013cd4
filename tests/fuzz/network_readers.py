"""Readers of networks and of arrays for them."""

from __future__ import annotations

import faulthandler
import io
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from profiler.errors import InvalidInputError, MeasurementError
from profiler.graph.from_onnx import read_onnx
from profiler.graph.graph import chain
from profiler.graph.to_onnx import export_onnx
from profiler.graph.to_tflite import export_tflite
from profiler.graph.weights import random_weights
from profiler.models.file import inputs_of, read_model_file
from profiler.models.inputs import read_npz
from profiler.models.tflite_kernels import tflite_kernels
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind
from profiler.spaces.mobilenetv3_reader import read_onnx_ops
from tests.fuzz.campaign import Reader
from tests.fuzz.file_readers import of_file
from tests.fuzz.mutations import ARRAYS, BYTES, ONNX
from tests.profiler.models.test_kernels import residual

REFUSED, BROKEN = 2, 70  # what a fork ends with


def _onnx(folder: Path) -> Sequence[bytes]:
    graph = residual(n_channels=4)
    return [export_onnx(graph, random_weights(graph, np.random.default_rng(0)))]


def _every_op() -> list[OpConfig]:
    """A network with each kind of op: blocks with and without each of their parts."""
    hard_swish, relu = OpActivation.HARD_SWISH, OpActivation.RELU
    return [
        OpConfig(OpKind.CONV, 3, 8, 32, 32, 0, 3, 2, False, hard_swish),
        OpConfig(OpKind.MBCONV, 8, 8, 16, 16, 8, 3, 1, False, relu),
        OpConfig(OpKind.MBCONV, 8, 16, 16, 16, 24, 5, 2, True, hard_swish),
        OpConfig(OpKind.MBCONV, 16, 16, 8, 8, 48, 7, 1, False, relu),
        OpConfig(OpKind.CONV_1, 16, 24, 8, 8, activation=hard_swish),
        OpConfig(OpKind.AVG_POOL, 24, 24, 8, 8),
        OpConfig(OpKind.CONV_2, 24, 32, 1, 1, activation=hard_swish),
        OpConfig(OpKind.LOGITS, 32, 10, 1, 1),
    ]


def _mobilenet(folder: Path) -> Sequence[bytes]:
    """Without the values of its weights, which are not read."""
    import onnx

    graph = chain([(f"op{at}", op.graph) for at, op in enumerate(_every_op())])
    weights = {name: np.zeros(shape, np.float32) for name, shape in graph.weight_shapes.items()}
    model = onnx.ModelProto.FromString(export_onnx(graph, weights))
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("raw_data")
    return [model.SerializeToString()]


def _tflite(folder: Path) -> Sequence[bytes]:
    graph = residual(n_channels=4)
    return [export_tflite(graph, random_weights(graph, np.random.default_rng(0)))]


def _graph(path: Path) -> Any:
    graph = read_onnx(path, resolution_px=32, needs_weights=False).graph
    assert graph.madds >= 0 and graph.params >= 0


def _ops(path: Path) -> Any:
    for op in read_onnx_ops(path, batch_size=1, resolution_px=None, precision="float32"):
        assert op.graph.madds >= 0


def _npz(path: Path) -> None:
    read_npz(path)  # a network may be given numbers that are not finite


def _in_a_fork(read: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Stands for the fresh process of each file, which may die of it: that takes half a second."""

    def reader(path: Path) -> None:
        told, tells = os.pipe()
        pid = os.fork()
        if pid == 0:
            faulthandler.disable()
            try:
                read(path)
            except MeasurementError:
                os._exit(REFUSED)
            except BaseException:
                os.write(tells, traceback.format_exc()[-2000:].encode())
                os._exit(BROKEN)
            os._exit(0)
        os.close(tells)
        with os.fdopen(told) as pipe:
            said = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == BROKEN:
            raise RuntimeError(said)
        if code:  # the runtime refuses the file, or dies of it
            raise InvalidInputError(f"refused, {code}")

    return reader


def _arrays(folder: Path) -> Sequence[bytes]:
    out = io.BytesIO()
    np.savez(out, image=np.zeros((1, 3, 4, 4), np.float32), ids=np.arange(6))
    return [out.getvalue()]


def network_readers() -> list[Reader]:
    return [
        of_file("npz", "i.npz", ARRAYS, _npz, _arrays),
        of_file("onnx", "m.onnx", ONNX, _graph, _onnx),
        of_file("onnx-ops", "m.onnx", ONNX, _ops, _mobilenet),
        of_file("onnx-runtime", "m.onnx", ONNX, read_model_file, _onnx),
        of_file("tflite", "m.tflite", BYTES, tflite_kernels, _tflite),
        of_file("tflite-runtime", "m.tflite", BYTES, _in_a_fork(inputs_of), _tflite),
    ]
