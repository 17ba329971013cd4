import numpy as np
import pytest

from profiler.graph.to_tflite import export_tflite
from profiler.graph.weights import random_weights
from profiler.spaces.mobilenetv3_ops import OpConfig, OpKind


@pytest.fixture(scope="session")
def tflite_file(tmp_path_factory):
    op = OpConfig(OpKind.CONV_1, 8, 16, 12, 12)
    path = tmp_path_factory.mktemp("tflite") / "net.tflite"
    weights = random_weights(op.graph, np.random.default_rng(0))
    path.write_bytes(export_tflite(op.graph, weights))
    return path
