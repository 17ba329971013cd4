"""The model that every runtime measures for a workload."""

import zlib

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from profiler.devices.base import Workload
from profiler.devices.seeded import seeded_image, seeded_module, seeded_onnx, seeded_tflite
from profiler.graph.folding import fold
from profiler.graph.litert import Model
from profiler.graph.to_tflite import PRECISIONS
from profiler.graph.weights import random_weights
from profiler.spaces.mobilenetv3_ops import OpActivation, OpConfig, OpKind

BLOCK = OpConfig(OpKind.MBCONV, 16, 24, 8, 8, 48, 5, 2, True, OpActivation.HARD_SWISH, batch_size=2)
WORKLOAD = Workload(BLOCK.key, (BLOCK,))


def test_the_runtimes_compute_the_same_network():
    image = seeded_image(WORKLOAD)
    reference = ReferenceEvaluator(onnx.load_from_string(seeded_onnx(WORKLOAD)))
    expected = np.asarray(next(iter(reference.run(None, {"input": image}))))
    found: dict[str, NDArray[np.float32]] = {
        precision: Model(seeded_tflite(WORKLOAD, precision))
        .run(np.ascontiguousarray(image.transpose(0, 2, 3, 1)))
        .transpose(0, 3, 1, 2)
        for precision in PRECISIONS
    }
    np.testing.assert_allclose(found["float32"], expected, atol=1e-4)
    assert np.corrcoef(found["int8"].ravel(), expected.ravel())[0, 1] > 0.98


def test_the_key_seeds_the_weights_as_it_did_for_published_tables():
    rng = np.random.default_rng(zlib.crc32(BLOCK.key.encode()))
    weights = random_weights(fold(WORKLOAD.graph), rng)
    model = onnx.load_from_string(seeded_onnx(WORKLOAD))
    stored = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    for name, array in weights.items():
        assert any(np.array_equal(array, other) for other in stored), name


@pytest.mark.parametrize("key", [BLOCK.key, "another"])
def test_the_same_key_is_the_same_model_and_another_is_not(key):
    workload = Workload(key, (BLOCK,))
    same = key == WORKLOAD.key
    assert (seeded_onnx(workload) == seeded_onnx(WORKLOAD)) is same
    for precision in PRECISIONS:
        model = seeded_tflite(workload, precision)
        assert (model == seeded_tflite(WORKLOAD, precision)) is same
    assert np.array_equal(seeded_image(workload), seeded_image(WORKLOAD)) is same
    first, second = (
        next(seeded_module(w).parameters()).detach().numpy() for w in (workload, WORKLOAD)
    )
    assert np.array_equal(first, second) is same


def test_the_image_is_standard_normal_and_not_the_numbers_of_the_weights():
    large = Workload("large", (OpConfig(OpKind.CONV_1, 64, 8, 56, 56, 0, 1, 1, False),))
    image = seeded_image(large)
    assert image.shape == (1, 64, 56, 56)
    assert image.dtype == np.float32
    assert abs(image.mean()) < 0.01
    assert abs(image.std() - 1) < 0.01
    weights = np.random.default_rng(zlib.crc32(b"large")).standard_normal(image.size)
    assert abs(np.corrcoef(image.ravel(), weights)[0, 1]) < 0.02
