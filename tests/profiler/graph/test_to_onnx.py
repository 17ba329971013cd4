import pytest

from profiler.errors import InvalidInputError
from profiler.graph import layers
from profiler.graph.graph import GraphBuilder
from profiler.graph.to_onnx import export_onnx


def test_reductions_are_written_in_the_opset_of_their_form_only():
    net = GraphBuilder()
    x = net.input("input", (1, 4, 3, 3))
    graph = net.graph(net.add("mean", layers.Reduce(layers.Statistic.MEAN, (2, 3)), x))
    with pytest.raises(InvalidInputError, match="opset 20"):
        export_onnx(graph, {}, opset=20)
    with pytest.raises(InvalidInputError, match="opset 16"):
        export_onnx(graph, {}, opset=16)
