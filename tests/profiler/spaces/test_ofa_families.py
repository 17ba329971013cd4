"""Once-for-All's other families against its own networks (PyPI package `ofa`)."""

import copy
import json

import numpy as np
import pytest
import torch

from profiler.errors import InvalidInputError
from profiler.graph.to_torch import GraphModule, randomise_
from profiler.spaces.checkpoint import PublishedWeights
from profiler.spaces.networks import network_graph
from profiler.spaces.proxyless import ProxylessSpace
from profiler.spaces.resnet50 import ResNet50Space
from tests.ofa_oracle import import_ofa

pytestmark = pytest.mark.slow

NETWORKS = "ofa.imagenet_classification.elastic_nn.networks"
SMALL_PX = 96


def ofa_proxyless(space):
    networks = import_ofa(f"{NETWORKS}.ofa_proxyless")
    lists = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
    return networks.OFAProxylessNASNets(width_mult=space.width_mult, dropout_rate=0, **lists)


def ofa_resnet50(space):
    networks = import_ofa(f"{NETWORKS}.ofa_resnets")
    return networks.OFAResNets(
        dropout_rate=0, depth_list=[0, 1, 2], expand_ratio_list=[0.2, 0.25, 0.35],
        width_mult_list=[0.65, 0.8, 1.0],
    )  # fmt: skip


@pytest.fixture(scope="module", params=["proxyless", "resnet50"])
def family(request):
    """A space, and the network with random weights that all its networks are parts of."""
    space, supernet = {
        "proxyless": (ProxylessSpace(resolution_px=SMALL_PX), ofa_proxyless),
        "resnet50": (ResNet50Space(resolution_px=SMALL_PX), ofa_resnet50),
    }[request.param]
    return space, randomise_(supernet(space), seed=1).eval()


def activated(supernet, space, tokens):
    """Once-for-All's own subnet of tokens."""
    choice = space.other_forms(tokens)["ofa"]
    supernet.set_active_subnet(**{name: value for name, value in choice.items() if name != "r"})
    return supernet.get_active_subnet(preserve_weight=True).eval()


def counted_madds(network, side_px):
    """A convolution makes each element of its output from as many products as a filter has."""
    made = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(
                lambda m, _, output: made.append(output.numel() * m.weight[0].numel())
            )
    network(torch.zeros(1, 3, side_px, side_px, device="meta"))
    return sum(made)


@torch.no_grad()
def test_twenty_networks_have_the_madds_and_parameters_of_once_for_alls(family):
    space, supernet = family
    shapes = copy.deepcopy(supernet).to("meta")  # they are enough to count
    for tokens in space.sample(20, np.random.default_rng(3)):
        with torch.device("meta"):
            theirs = activated(shapes, space, tokens)
        graph = network_graph(space, tokens)
        assert graph.madds == counted_madds(theirs, SMALL_PX)
        assert graph.params == sum(p.numel() for p in theirs.parameters())


@torch.no_grad()
def test_networks_compute_what_once_for_alls_do(family, tmp_path):
    """With weights of the supernet's checkpoint, and of the network's own."""
    space, supernet = family
    noise = np.random.default_rng(0).normal(size=(1, 3, SMALL_PX, SMALL_PX))
    images = torch.from_numpy(noise).float()
    state = {published_name(name): tensor for name, tensor in supernet.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "supernet.pth")
    for tokens in space.sample(3, np.random.default_rng(3)):
        theirs = activated(supernet, space, tokens)
        torch.save(theirs.state_dict(), tmp_path / "alone.pth")
        expected = supernet(images)
        for name in ("supernet.pth", "alone.pth"):
            ours = PublishedWeights.read(tmp_path / name, space).network(space.format(tokens))
            assert ours.state_dict().keys() == theirs.state_dict().keys()
            for weight, tensor in ours.state_dict().items():
                if not weight.endswith("num_batches_tracked"):
                    torch.testing.assert_close(tensor, theirs.state_dict()[weight])
            assert (ours(images) - expected).abs().max() / expected.abs().max() < 1e-5


def published_name(name):
    """As in the checkpoints that were published."""
    return name.replace(".conv.", ".mobile_inverted_conv.", 1) if ".depth_conv." in name else name


def test_weights_of_other_networks_are_refused(tmp_path):
    space = ProxylessSpace(resolution_px=SMALL_PX)
    narrower = ProxylessSpace("proxyless", 1.0, SMALL_PX)
    tokens = narrower.sample(1, np.random.default_rng(0))[0]
    state = GraphModule(network_graph(narrower, tokens)).state_dict()
    torch.save(state, tmp_path / "narrower.pth")
    arch = space.format(space.sample(1, np.random.default_rng(0))[0])
    with pytest.raises(InvalidInputError, match="another width multiplier"):
        PublishedWeights.read(tmp_path / "narrower.pth", space).network(arch)
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InvalidInputError, match=r"has no first_conv\.conv\.weight"):
        PublishedWeights.read(tmp_path / "other.pth", space).network(arch)


@pytest.mark.parametrize("space", [ProxylessSpace(), ResNet50Space()], ids=lambda s: s.name)
def test_architectures_are_read_as_once_for_all_writes_them(space):
    for tokens in space.sample(50, np.random.default_rng(2)):
        choice = space.other_forms(tokens)["ofa"]
        for text in (json.dumps(choice), str(choice), space.format(tokens)):
            assert (space.parse(text) == tokens).all()
        with pytest.raises(InvalidInputError, match="for 160 px, the space for 224 px"):
            space.parse(json.dumps(choice | {"r": [160]}))
        with pytest.raises(InvalidInputError, match="expected a dict with d, "):
            space.parse(json.dumps({"r": 224}))
