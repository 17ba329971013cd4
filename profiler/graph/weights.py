"""Random weights of a graph, for measuring latency without training."""

from __future__ import annotations

from math import prod

import numpy as np

from profiler.graph.graph import Graph, Weights


def random_weights(graph: Graph, rng: np.random.Generator) -> Weights:
    """He-scaled normal weights and small biases: activations stay of order one, so that
    timing meets no denormals."""
    weights: Weights = {}
    for name, shape in graph.weight_shapes.items():
        fan_in = prod(shape[1:]) if len(shape) > 1 else 100
        values = rng.normal(0, (2 / fan_in) ** 0.5, shape)
        if len(shape) == 1 and name.endswith((".weight", ".running_var")):
            values += 1  # scales of a normalisation, and variances
        weights[name] = values.astype(np.float32)
    return weights
