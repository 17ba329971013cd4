"""The supernet against Once-for-All's own network (PyPI package `ofa`)."""

import numpy as np
import pytest
import torch

from pnag.supernet.checkpoint import load_supernet
from pnag.supernet.elastic import ElasticMobileNetV3
from pnag.supernet.sorting import apply_orders, importance_orders
from profiler.errors import InvalidInputError
from profiler.graph.to_torch import randomise_
from profiler.spaces.checkpoint import canonical_name
from profiler.spaces.mobilenetv3 import MobileNetV3Space, open_space
from tests.ofa_oracle import import_ofa

pytestmark = pytest.mark.slow

SEED_WITHOUT_TIES = 8  # equal importances: their order is not defined
SPACES = [MobileNetV3Space(width_mult=w, resolution_px=128) for w in (1.0, 1.2)]


def randomised(model, seed: int):
    """Random weights and statistics, kernel matrices near the identity."""
    randomise_(model, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_matrix"):
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(torch.eye(len(parameter)) + 0.1 * noise)
    return model


def ofa_network(width_mult: float, seed: int = 1):
    """A random-weight OFAMobileNetV3."""
    networks = import_ofa("ofa.imagenet_classification.elastic_nn.networks.ofa_mbv3")
    lists = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
    network = networks.OFAMobileNetV3(width_mult=width_mult, dropout_rate=0, **lists)
    return randomised(network, seed)


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@torch.no_grad()
@pytest.mark.parametrize("space", SPACES, ids=lambda s: f"w{s.width_mult}")
def test_twenty_random_subnets_equal_once_for_all(space):
    theirs, ours = ofa_network(space.width_mult), ElasticMobileNetV3(space).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 128, 128))).float()
    for index, row in enumerate(space.sample(20, np.random.default_rng(3))):
        arch = space.decode(row)
        choice = arch.to_ofa()
        theirs.set_active_subnet(ks=choice["ks"], e=choice["e"], d=choice["d"])
        expected = theirs(images)
        assert relative_difference(ours(images, arch), expected) < 1e-5
        if index % 5 == 0:
            static, standalone = theirs.get_active_subnet().eval(), ours.extract(arch)
            assert standalone.state_dict().keys() == static.state_dict().keys()
            for name, tensor in standalone.state_dict().items():
                if not name.endswith("num_batches_tracked"):
                    torch.testing.assert_close(tensor, static.state_dict()[name])
            assert relative_difference(standalone(images), expected) < 1e-5


def published_name(name: str) -> str:
    """The name in the published ofa_mbv3_d234_e346_k357 checkpoints."""
    if name.startswith("blocks."):
        name = name.replace(".conv.", ".mobile_inverted_conv.", 1)
    return name


def oldest_name(name: str) -> str:
    """As written from under DataParallel, before the dynamic layers had inner modules."""
    for part in ("bn", "conv", "linear"):
        name = name.replace(f".{part}.{part}.", f".{part}.")
    return "module." + published_name(name)


@torch.no_grad()
@pytest.mark.parametrize("rename", [str, published_name, oldest_name])
def test_a_published_checkpoint_loads_under_any_of_its_names(tmp_path, rename):
    space = SPACES[1]
    source = randomised(ElasticMobileNetV3(space), 5)
    state = {rename(name): tensor for name, tensor in source.state_dict().items()}
    path = tmp_path / "ofa_mbv3_d234_e346_k357_w1.2"
    torch.save({"state_dict": state}, path)
    loaded = load_supernet(path, space)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_names_of_static_and_dynamic_layers_stay_distinct():
    names = list(ElasticMobileNetV3(SPACES[0]).state_dict())
    assert len({canonical_name(name) for name in names}) == len(names)


def test_wrong_checkpoints_are_refused_in_one_line(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": ElasticMobileNetV3(SPACES[0]).state_dict()}, path)
    with pytest.raises(InvalidInputError, match="another width multiplier"):
        load_supernet(path, SPACES[1])
    torch.save({"state_dict": {"fc.weight": torch.zeros(3)}}, path)
    with pytest.raises(InvalidInputError, match=r"1 unknown and 371 missing .*fc.weight"):
        load_supernet(path)
    torch.save({"state_dict": 3}, path)
    with pytest.raises(InvalidInputError, match="no state dict"):
        load_supernet(path)


class Attack:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


def test_a_checkpoint_executes_no_code(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Attack()}, path)
    with pytest.raises(InvalidInputError, match="no PyTorch checkpoint of tensors"):
        load_supernet(path)


@torch.no_grad()
def test_channel_sorting_equals_once_for_all():
    space = SPACES[0]
    theirs, ours = ofa_network(1.0, seed=SEED_WITHOUT_TIES), ElasticMobileNetV3(space).eval()
    ours.load_state_dict(theirs.state_dict())
    theirs.re_organize_middle_weights()
    apply_orders(ours.state_dict(), importance_orders(ours))
    expected = theirs.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict().items())


@torch.no_grad()
def test_channel_sorting_changes_no_output_of_the_largest_subnet():
    space = open_space("mbv3-cifar")
    model = randomised(ElasticMobileNetV3(space), 2)
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 32, 32))).float()
    largest = space.extremes()[1]
    before = model(images, largest)
    apply_orders(model.state_dict(), importance_orders(model))
    assert relative_difference(model(images, largest), before) < 1e-5
    weight = model.state_dict()["blocks.5.conv.point_linear.conv.conv.weight"]
    importance = weight.abs().sum((0, 2, 3))
    assert torch.equal(importance, importance.sort(descending=True).values)
