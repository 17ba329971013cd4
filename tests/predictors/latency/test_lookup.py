from dataclasses import replace

import numpy as np
import pytest

from predictors.latency.lookup import cost_from_table, table_latency
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.networks import network_ops
from tests.predictors.synthetic import make_table


@pytest.mark.parametrize(
    ("space", "batch_size"),
    [
        (MobileNetV3Space(), 1),
        (MobileNetV3Space(width_mult=1.2, resolution_px=160), 4),
        (MobileNetV3Space("mbv3-cifar", 1.0, 32), 8),
    ],
)
def test_without_networks_the_cost_is_the_walk_over_the_table(space, batch_size):
    table = make_table(space, batch_size=batch_size)
    tokens = space.sample(100, np.random.default_rng(0))
    walked = [sum(table.ops[op.key].latency_ms for op in network_ops(space, row)) for row in tokens]
    assert cost_from_table(table)(tokens) == pytest.approx(walked, rel=1e-12)


def test_an_op_is_found_by_what_it_is_and_not_by_its_key():
    table = make_table()
    latency_ms = table_latency(table)
    stem = MobileNetV3Space().stem_ops()[0]
    assert latency_ms(stem) == table.ops[stem.key].latency_ms
    for other in (replace(stem, kernel=7), replace(stem, batch_size=2)):
        assert other.key == stem.key
        with pytest.raises(InvalidInputError, match="no op Conv-input:224x224x3"):
            latency_ms(other)
