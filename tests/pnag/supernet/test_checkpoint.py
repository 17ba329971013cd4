"""Files of ours: what they say of themselves, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from pnag.supernet.checkpoint import (
    SCHEMA,
    SupernetFile,
    load_supernet,
    read_facts,
    read_supernet_file,
)
from pnag.supernet.elastic import ElasticMobileNetV3
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import open_space

FACTS = open_space("mbv3-cifar").facts
READERS = (read_facts, read_supernet_file, load_supernet)


def test_facts_are_read_as_written(tmp_path):
    facts = FACTS | {"settings": {"seed": 3, "arch": None}, "compressed_from_sha256": "ab"}
    path = tmp_path / "supernet.safetensors"
    SupernetFile({"weights/x": torch.ones(2)}, facts).save(path)
    assert read_facts(path) == read_supernet_file(path).facts == facts


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(FACTS)[:-1], "malformed facts"),
        ("[1]", "malformed facts"),
        (json.dumps({"space": "mbv3-cifar"}), "malformed facts"),
        (json.dumps(FACTS | {"space": ["mbv3"]}), "malformed facts"),
        (json.dumps(FACTS | {"width_mult": "wide"}), "malformed facts"),
        (json.dumps(FACTS | {"settings": None}), "malformed facts"),
        (json.dumps(FACTS | {"settings": [["seed", 1]]}), "settings are no object"),
        (json.dumps(FACTS | {"settings": {"arch": 1.5}}), r"settings\.arch is 1\.5"),
        (json.dumps(FACTS | {"settings": {"held_out": "9"}}), r"settings\.held_out is '9'"),
        (json.dumps(FACTS | {"settings": {"seed": -1}}), r"settings\.seed is -1"),
        (json.dumps(FACTS | {"space": "mbv9"}), "unknown space 'mbv9'"),
    ],
    ids=[
        "cut",
        "list",
        "incomplete",
        "space",
        "width",
        "settings",
        "pairs",
        "arch",
        "held out",
        "seed",
        "unknown space",
    ],
)
def test_damaged_facts_are_refused_in_one_line(tmp_path, read, text, message):
    path = tmp_path / "supernet.safetensors"
    save_file({"weights/x": torch.ones(2)}, path, metadata={SCHEMA: text})
    with pytest.raises(InvalidInputError, match=message) as refusal:
        read(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("read", READERS)
def test_files_of_others_are_refused(tmp_path, read):
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.ones(2)}, path, metadata={"format": "pt"})
    with pytest.raises(InvalidInputError, match="no supernet checkpoint: format, expected"):
        read(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InvalidInputError, match="cannot read"):
        read(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_that_are_no_numbers_are_refused_not_evaluated(tmp_path, value, suffix):
    space = open_space("mbv3-cifar")
    state = ElasticMobileNetV3(space).state_dict()
    state["first_conv.conv.weight"].view(-1)[7] = value
    path = tmp_path / f"supernet.{suffix}"
    if suffix == "pth":
        torch.save(state, path)
    else:
        weights = {f"weights/{name}": tensor for name, tensor in state.items()}
        SupernetFile(weights, space.facts).save(path)
    with pytest.raises(InvalidInputError, match=r"first_conv\.conv\.weight .* not finite"):
        load_supernet(path, space)
