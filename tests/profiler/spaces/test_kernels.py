"""Draws of single kernels and of networks: seeded, stratified, within their bounds."""

from collections import Counter
from itertools import islice
from math import prod

import pytest

from profiler.errors import InvalidInputError
from profiler.spaces.families import FAMILIES, MAX_PARAMS, family_networks
from profiler.spaces.families import MAX_MADDS as MAX_NETWORK_MADDS
from profiler.spaces.kernels import (
    KINDS,
    MAX_ELEMENTS,
    MAX_MADDS,
    KernelSpace,
    single_kernels,
)

ROUND = sum(share for share, _ in KINDS.values())


def test_more_kernels_of_a_seed_begin_with_the_fewer():
    few, many = (list(islice(single_kernels(3), n)) for n in (20, 50))
    assert many[:20] == few
    assert [name for name, _ in islice(single_kernels(4), 20)] != [name for name, _ in few]


def test_a_round_holds_each_kind_by_its_share_and_no_kernel_twice():
    names = [name for name, _ in islice(single_kernels(0), ROUND)]
    assert len(set(names)) == ROUND
    drawn = Counter(name.split()[0] for name in names)
    assert drawn == {kind: share for kind, (share, _) in KINDS.items()}


def test_kernels_are_short_enough_to_measure():
    for _, graph in islice(single_kernels(1), 3 * ROUND):
        assert graph.madds <= MAX_MADDS
        assert all(prod(node.output.shape) <= MAX_ELEMENTS for node in graph.nodes)


def test_a_batch_is_on_every_input_and_multiplies_the_work():
    pairs = zip(islice(single_kernels(0), ROUND), islice(single_kernels(0, 4), ROUND), strict=True)
    for (_, one), (_, four) in pairs:
        assert {tensor.shape[0] for tensor in four.inputs} == {4}
        assert four.madds == 4 * one.madds
        assert four.params == one.params


def test_families_take_turns_and_their_networks_classify_images():
    networks = list(islice(family_networks(0), 2 * len(FAMILIES)))
    assert [name for name, _ in networks] == [f"{f} {n}" for n in (0, 1) for f in FAMILIES]
    for _, graph in networks:
        assert graph.inputs[0].shape[1] == 3
        assert graph.outputs[0].shape == (1, 1000)
        assert graph.madds <= MAX_NETWORK_MADDS
        assert graph.params <= MAX_PARAMS


def test_two_networks_of_a_family_differ():
    networks = dict(islice(family_networks(0), 3 * len(FAMILIES)))
    for family in FAMILIES:
        assert len({networks[f"{family} {number}"].madds for number in range(3)}) > 1


@pytest.mark.parametrize("minutes", [0, -1, 0.05, 2000])
def test_too_little_or_too_much_time_is_refused(minutes):
    with pytest.raises(InvalidInputError, match="--minutes must be from"):
        KernelSpace(minutes)


def test_ten_minutes_are_about_400_models():
    space = KernelSpace(10)
    assert (space.n_kernels, space.n_doubted) == (240, 80)
    assert (space.n_chains, space.n_networks) == (110, 70)
