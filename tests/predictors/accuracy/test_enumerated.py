import numpy as np
import pytest

from predictors.accuracy.enumerated import (
    METADATA,
    EnumeratedAccuracy,
    enumerated_accuracy,
    shipped_file,
)
from predictors.accuracy.fitted import load_accuracy_model
from predictors.testing import AccuracyConformance
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.nasbench201 import NasBench201Space
from profiler.system.tensor_files import described, write_arrays

# test accuracies in percent of the best cells, as the benchmark's authors give them (Dong & Yang
# 2020, Table 5, "optimal"), and one cell's own
OPTIMAL = {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}
CELL = (
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
    "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
)
OF_CELL = {"cifar10": 85.86333, "cifar100": 52.91333, "imagenet16-120": 26.63333}


class TestPublishedAccuracies(AccuracyConformance):
    space = NasBench201Space

    def accuracy(self):
        return enumerated_accuracy(NasBench201Space(), "cifar100")


@pytest.mark.parametrize("dataset", OPTIMAL)
def test_accuracies_are_the_published_ones(dataset):
    space = NasBench201Space(dataset)
    accuracy = enumerated_accuracy(space, dataset)
    assert round(100 * accuracy.top1(space.every()).max(), 2) == OPTIMAL[dataset]
    (of_cell,) = accuracy.top1(space.parse(CELL)[None])
    assert 100 * of_cell == pytest.approx(OF_CELL[dataset], abs=1e-9)


def test_values_are_looked_up_by_all_tokens():
    space = NasBench201Space()
    numbered = EnumeratedAccuracy(space, np.arange(5.0**6))
    assert numbered.top1(np.array([[0, 0, 0, 0, 0, 3], [1, 0, 0, 0, 2, 0]])).tolist() == [3, 3135]


def test_a_file_of_all_accuracies_is_an_accuracy_model(tmp_path):
    path, space = tmp_path / "all.safetensors", NasBench201Space("cifar100")
    shipped = shipped_file(space)
    assert shipped is not None
    path.write_bytes(shipped.read_bytes())
    loaded = load_accuracy_model(path, space)
    (of_cell,) = loaded.top1(space.parse(CELL)[None])
    assert 100 * of_cell == pytest.approx(OF_CELL["cifar100"], abs=1e-9)
    with pytest.raises(InvalidInputError, match="accuracies by data set, none of mbv3"):
        load_accuracy_model(path, MobileNetV3Space())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(9, np.uint32), r"of shape \(9,\), not of the 15625 of nasbench201"),
        (np.full(5**6, 10**7 + 1, np.uint32), "damaged: accuracies on cifar10"),
        (np.zeros(5**6), "damaged: accuracies on cifar10"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, values, message):
    path = tmp_path / "all.safetensors"
    write_arrays(path, {"cifar10": values}, described(METADATA, {}))
    with pytest.raises(InvalidInputError, match=message):
        load_accuracy_model(path, NasBench201Space())


def test_what_is_not_shipped_is_refused():
    with pytest.raises(InvalidInputError, match="of all of mbv3"):
        enumerated_accuracy(MobileNetV3Space(), "cifar10")
    with pytest.raises(InvalidInputError, match="there are: cifar10, cifar100, imagenet16-120"):
        enumerated_accuracy(NasBench201Space(), "svhn")
