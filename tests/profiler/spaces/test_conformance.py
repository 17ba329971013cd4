import numpy as np

from profiler.spaces.base import TokenPosition
from profiler.spaces.mobilenetv3 import open_space
from profiler.spaces.nasbench201 import NasBench201Space
from profiler.spaces.proxyless import ProxylessSpace
from profiler.spaces.resnet50 import ResNet50Space
from profiler.spaces.tabular import TabularSpace
from profiler.testing import SpaceConformance


class TestMobileNetV3(SpaceConformance):
    def space(self):
        return open_space("mbv3")


class TestMobileNetV3ForCifar(SpaceConformance):
    def space(self):
        return open_space("mbv3-cifar")


class TestProxyless(SpaceConformance):
    space = ProxylessSpace


class TestResNet50(SpaceConformance):
    space = ResNet50Space


class TestNasBench201(SpaceConformance):
    space = NasBench201Space


class TestTabular(SpaceConformance):
    """With a combination missing."""

    def space(self):
        positions = (TokenPosition("kernel", ("3", "5")), TokenPosition("block", ("mb", "skip")))
        rows = np.array([[0, 0], [1, 0], [1, 1]], np.int8)
        return TabularSpace("tabular:blocks", positions, rows, np.full(3, 0.7), np.arange(1.0, 4.0))
