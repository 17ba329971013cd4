"""Costs that were measured of every architecture: read, kept, looked up."""

import numpy as np
import pytest

from predictors.enumerated import EnumeratedCost, load_costs, read_costs, save_costs
from predictors.testing import CostConformance
from profiler.errors import InvalidInputError
from profiler.spaces.base import TokenPosition
from profiler.spaces.mobilenetv3 import MobileNetV3Space


class Small:
    """Six architectures, written like `1-2`."""

    name = "small"
    positions = (TokenPosition("a", (0, 1)), TokenPosition("b", (0, 1, 2)))

    def every(self):
        return np.array([[a, b] for a in range(2) for b in range(3)], np.int8)

    def sample(self, n, rng):
        return rng.integers((2, 3), size=(n, 2), dtype=np.int8)

    def parse(self, text):
        if text not in {self.format(tokens) for tokens in self.every()}:
            raise InvalidInputError(f"malformed architecture {text!r}")
        return np.array(text.split("-"), np.int8)

    def format(self, tokens):
        return "-".join(map(str, tokens))


SPACE = Small()
ENERGIES = {SPACE.format(tokens): 1.5 + i for i, tokens in enumerate(SPACE.every())}


def written(path, rows, header="arch,note,energy_mJ"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def file(tmp_path):
    rows = [f"{arch},x,{energy}" for arch, energy in reversed(ENERGIES.items())]
    return written(tmp_path / "costs.csv", rows)


def test_every_architecture_has_its_own_number(file, tmp_path):
    costs = read_costs(file, SPACE)
    assert list(costs) == ["energy"] and costs["energy"].unit == "mJ"
    assert costs["energy"](SPACE.every()).tolist() == list(ENERGIES.values())
    save_costs(tmp_path / "costs.safetensors", costs)
    kept = load_costs(tmp_path / "costs.safetensors", SPACE)
    assert kept["energy"].unit == "mJ"
    assert (kept["energy"].values == costs["energy"].values).all()


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["0-0,1"], "arch,energy_mj", "has costs of 1 architectures, small has 6"),
        (["0-0,1", "0-0,2"], "arch,energy_mj", r"line 3: 0-0 is listed twice, first in line 2"),
        (["0-7,1"], "arch,energy_mj", "line 2: malformed architecture"),
        (["0-0,-1"], "arch,energy_mj", "line 2: energy_mj -1 must be positive"),
        (["0-0,1"], "arch,energy", "a column that ends in a unit"),
        (["0-0,1"], "cell,energy_mj", "the header needs arch"),
        (["0-0,1,2"], "arch,energy_mj,energy_ms", "has two columns of energy"),
    ],
)
def test_what_is_no_cost_of_each_is_refused(rows, header, message, tmp_path):
    with pytest.raises(InvalidInputError, match=message):
        read_costs(written(tmp_path / "costs.csv", rows, header), SPACE)


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_a_kept_cost_is_above_zero(value, file, tmp_path):
    (cost,) = read_costs(file, SPACE).values()
    cost.values[3] = value
    save_costs(tmp_path / "costs.safetensors", {"energy": cost})
    with pytest.raises(InvalidInputError, match="energy holds costs that are not above 0"):
        load_costs(tmp_path / "costs.safetensors", SPACE)


def test_a_space_of_too_many_architectures_is_refused(file):
    with pytest.raises(InvalidInputError, match="mbv3 has too many architectures"):
        read_costs(file, MobileNetV3Space())


class TestCost(CostConformance):
    def space(self):
        return SPACE

    def cost(self):
        return EnumeratedCost(SPACE, np.array(list(ENERGIES.values())), "mJ")
