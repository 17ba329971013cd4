"""Supernets that others trained: their subnets' accuracies, and a network in a file."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import interpolate

from pnag.supernet.data import normalise, open_dataset
from predictors.accuracy.tables import load_accuracy_table
from profiler.errors import PnagError
from profiler.graph.to_torch import GraphModule, randomise_
from profiler.spaces.networks import module_names, network_graph, network_ops
from profiler.spaces.proxyless import ProxylessSpace
from profiler.spaces.resnet50 import ResNet50Space
from profiler.spaces.row_network import RowNetwork
from profiler.spaces.sampling import extremes
from tests.pnag.supernet.supernet_data import coloured_images, supernet_command, write_images

N_TRAIN, N_TEST, SIDE_PX = 8, 6, 96
SPACES = [
    ProxylessSpace("proxyless", 1.0, SIDE_PX),
    ResNet50Space(resolution_px=SIDE_PX),
]


@pytest.fixture(params=SPACES, ids=lambda space: space.name)
def published(request, tmp_path):
    """A space, a checkpoint of its largest network, and images of a thousand classes."""
    space = request.param
    ops = network_ops(space, extremes(space)[1])
    supernet = randomise_(RowNetwork(ops, module_names(space, ops)), seed=2)
    torch.save({"state_dict": supernet.state_dict()}, tmp_path / "published.pth")
    splits = {}
    for seed, (split, n) in enumerate((("train", N_TRAIN), ("test", N_TEST))):
        pixels, labels = coloured_images(n, seed)
        larger = interpolate(torch.from_numpy(pixels), SIDE_PX).numpy()
        splits[split] = (larger, np.where(labels == 3, 999, labels))
    write_images(tmp_path / "images.npz", splits)
    return space, tmp_path / "published.pth", tmp_path / "images.npz"


@torch.no_grad()
def test_subnets_of_a_published_checkpoint_are_evaluated_and_extracted(published, tmp_path):
    space, checkpoint, data = published
    options = [
        "--checkpoint", checkpoint, "--space", space.name, "--resolution", SIDE_PX, "--data", data,
        "--recalibration-images", N_TRAIN, "--device", "cpu",
    ]  # fmt: skip
    if space.name == "proxyless":
        options += ["--width-mult", 1.0]
    out = tmp_path / "accuracy.json"
    assert supernet_command("evaluate", *options, "--count", 3, "--out", out)["n"] == 3
    table = load_accuracy_table(out, space)
    assert np.array_equal(table.tokens[:2], extremes(space))

    arch = space.format(table.tokens[0])
    made = supernet_command(
        "extract", *options, "--arch", arch, "--out", tmp_path, "--export", "torch"
    )
    assert (made["arch"], made["difference"]) == (arch, None)
    weights = load_file(tmp_path / "subnet.safetensors")
    largest = torch.load(checkpoint, weights_only=True)["state_dict"]
    first = next(name for name in weights if name.endswith("weight") and weights[name].dim() == 4)
    assert torch.equal(weights[first], largest[first][tuple(map(slice, weights[first].shape))])

    # the images pass once in training mode: these are the statistics that BatchNorm keeps
    network = GraphModule(network_graph(space, table.tokens[0]))
    network.load_state_dict(weights, strict=False)
    images = open_dataset(data, space)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    network.train()(normalise(images.train.plain(np.arange(N_TRAIN)), space))
    logits = network.eval()(normalise(images.test.plain(np.arange(N_TEST)), space))
    top1 = float((logits.argmax(1) == images.test.labels).double().mean())
    assert (made["top1"], table.top1[0]) == (top1, top1)


def test_a_checkpoint_of_ours_is_of_no_other_family(published, tmp_path):
    space, _, data = published
    ours = "tables/mbv3-cifar.supernet.safetensors"
    with pytest.raises(PnagError, match=f"is a supernet of mbv3-cifar .*, not of {space.name}"):
        supernet_command(
            "evaluate", "--checkpoint", ours, "--space", space.name, "--data", data,
            "--out", tmp_path / "t.json",
        )  # fmt: skip
