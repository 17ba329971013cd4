"""Once-for-All's own classes, with random weights, are the oracle."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from predictors.accuracy.fitted import load_accuracy_model
from profiler.errors import InvalidInputError
from profiler.spaces.base import Tokens
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.resnet50 import ResNet50Space
from tests.ofa_oracle import import_ofa

SPACE = MobileNetV3Space("mbv3", 1.0, 224)
SIZES = list(range(112, 225, 16))
RESNET_SIZES = [128, 144, 160, 176, 192, 224, 240, 256]  # of Once-for-All's tutorial


def architectures(space: MobileNetV3Space, n: int = 20) -> tuple[Tokens, list[dict[str, Any]]]:
    tokens = space.sample(n, np.random.default_rng(7))
    return tokens, [space.decode(row).to_ofa() for row in tokens]


def randomise(parameters: Any) -> None:
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in parameters:
            scale = parameter.shape[-1] ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def tutorial_network() -> torch.nn.Sequential:
    sizes = [128, 400, 400, 400, 1]
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    randomise(network.parameters())
    torch.nn.init.constant_(network.get_parameter("6.bias"), 0.7)
    return network


@pytest.mark.parametrize("resolution_px", [128, 160, 200, 224])
def test_published_layout_equals_the_tutorials_predictor(
    tmp_path: Path, resolution_px: int
) -> None:
    tutorial = import_ofa("ofa.tutorial.accuracy_predictor")
    oracle = tutorial.AccuracyPredictor(pretrained=False, device="cpu")
    oracle.model.load_state_dict(tutorial_network().state_dict())
    torch.save(oracle.model.state_dict(), tmp_path / "acc_predictor.pth")
    space = MobileNetV3Space("mbv3", 1.0, resolution_px)
    tokens, dicts = architectures(space)
    expected = oracle.predict_accuracy([{**d, "r": [d["r"]]} for d in dicts]).numpy()[:, 0]
    predicted = load_accuracy_model(tmp_path / "acc_predictor.pth", space).top1(tokens)
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("sizes", [[224], SIZES])
def test_package_layout_equals_the_packages_predictor(
    tmp_path: Path, sizes: list[int], wrapped: bool
) -> None:
    package = import_ofa("ofa.nas.accuracy_predictor")
    encoder = package.MobileNetArchEncoder(image_size_list=sizes)
    oracle = package.AccuracyPredictor(encoder, device="cpu")
    randomise(oracle.layers.parameters())
    with torch.no_grad():
        oracle.base_acc.fill_(0.76)
    state = oracle.state_dict()
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "predictor.pth")
    tokens, dicts = architectures(SPACE)
    with torch.no_grad():
        expected = oracle.predict_acc([{**d, "image_size": d["r"]} for d in dicts]).numpy()
    predicted = load_accuracy_model(tmp_path / "predictor.pth", SPACE).top1(tokens)
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["predictor.pth", "predictor.npz"])
def test_the_predictor_of_resnet50_equals_the_packages(tmp_path: Path, name: str) -> None:
    package = import_ofa("ofa.nas.accuracy_predictor")
    encoder = package.ResNetArchEncoder(image_size_list=RESNET_SIZES)
    oracle = package.AccuracyPredictor(encoder, device="cpu")
    randomise(oracle.layers.parameters())
    with torch.no_grad():
        oracle.base_acc.fill_(0.8)
    state = oracle.state_dict()
    if name.endswith("npz"):
        np.savez(tmp_path / name, **{key: value.numpy() for key, value in state.items()})
    else:
        torch.save(state, tmp_path / name)
    space = ResNet50Space(resolution_px=192)
    tokens = space.sample(20, np.random.default_rng(7))
    dicts: list[Any] = [space.other_forms(row)["ofa"] for row in tokens]
    with torch.no_grad():
        expected = oracle.predict_acc([{**d, "image_size": d["r"]} for d in dicts]).numpy()
    predicted = load_accuracy_model(tmp_path / name, space).top1(tokens)
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)
    with pytest.raises(InvalidInputError, match="does not say how it encodes 208 px"):
        load_accuracy_model(tmp_path / name, ResNet50Space(resolution_px=208))


def test_a_predictor_of_percentages_is_refused(tmp_path: Path) -> None:
    network = tutorial_network()
    torch.nn.init.constant_(network.get_parameter("6.bias"), 76.0)
    torch.save(network.state_dict(), tmp_path / "percent.pth")
    with pytest.raises(InvalidInputError, match="expected a fraction"):
        load_accuracy_model(tmp_path / "percent.pth", SPACE)


def test_a_resolution_without_a_bin_is_refused(tmp_path: Path) -> None:
    torch.save(tutorial_network().state_dict(), tmp_path / "p.pth")
    with pytest.raises(InvalidInputError, match="does not say how it encodes 32 px"):
        load_accuracy_model(tmp_path / "p.pth", MobileNetV3Space("mbv3-cifar", 1.0, 32))


def test_another_networks_checkpoint_is_refused(tmp_path: Path) -> None:
    state = tutorial_network().state_dict()
    del state["4.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(InvalidInputError, match=r"lacks 4\.weight"):
        load_accuracy_model(tmp_path / "short.pth", SPACE)
    torch.save(torch.nn.Linear(3, 1).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(InvalidInputError, match="no Once-for-All accuracy predictor"):
        load_accuracy_model(tmp_path / "linear.pth", SPACE)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InvalidInputError, match="holds no state dict"):
        load_accuracy_model(tmp_path / "list.pth", SPACE)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (marker,))

    torch.save({"0.weight": Malicious()}, tmp_path / "evil.pth")
    with pytest.raises(InvalidInputError, match="not a PyTorch checkpoint of tensors"):
        load_accuracy_model(tmp_path / "evil.pth", SPACE)
    assert not marker.exists()


def test_numbers_that_are_not_real_are_refused(tmp_path: Path) -> None:
    state = {name: tensor.numpy() for name, tensor in tutorial_network().state_dict().items()}
    state["0.weight"] = state["0.weight"].astype(np.complex64)
    np.savez(tmp_path / "p.npz", **state)
    with pytest.raises(InvalidInputError, match=r"0\.weight holds complex64, not real numbers"):
        load_accuracy_model(tmp_path / "p.npz", SPACE)
