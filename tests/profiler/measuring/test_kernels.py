"""Kernels and networks measured by the sweep, on this machine's own processor."""

from dataclasses import replace

import pytest

from profiler.errors import InvalidInputError
from profiler.measuring.campaign import ProfileRequest, default_out
from profiler.measuring.kernels import DRAWN_PER_DOUBTED, profile_kernels, within_minutes
from profiler.measuring.protocol import QUICK
from profiler.models.kernel import parse_kernel
from profiler.spaces.kernels import KernelSpace
from profiler.tables.table import load_table
from tests.profiler.fast import BRIEF

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("spec", "told"), [("cpu", True), ("tflite", False)])
def test_a_table_says_what_ran(tmp_path, monkeypatch, spec, told):
    out = tmp_path / "kernels.json"
    request = ProfileRequest(spec, KernelSpace(0.1), out, BRIEF, n_networks=1)
    assert profile_kernels(request) == out
    table = load_table(out, partial=True)
    assert table.space.name == "kernels"
    assert len(table.ops) + len(table.failures) == 2
    assert [network.arch for network in table.networks] == ["chain 0", "vgg 0"]
    assert table.kernels.keys() == table.ops.keys() | {"chain 0", "vgg 0"}
    for ran in table.kernels.values():
        assert all(parse_kernel(key).key == key for key, _ in ran)
        shares = [share for _, share in ran if share is not None]
        assert len(shares) == (len(ran) if told else 0)
        assert sum(shares) == pytest.approx(1.0 if told else 0.0)
    convolutions = [key for key, _ in table.kernels["vgg 0"] if "conv" in key.lower()]
    assert len(convolutions) >= 5
    before = out.with_suffix(".journal.sqlite").stat().st_size
    monkeypatch.setattr("profiler.measuring.kernels.kernel_shares", None)
    profile_kernels(request)  # all is done, and what ran is known
    assert load_table(out, partial=True).ops == table.ops
    assert load_table(out, partial=True).kernels == table.kernels
    assert out.with_suffix(".journal.sqlite").stat().st_size == before


def test_of_every_few_drawn_the_one_most_doubted_is_measured_also_after_an_interruption(tmp_path):
    asked = []

    def doubts(table, models):
        assert len(table.ops) == 1  # of two, one waits
        asked.append(models)
        return [1.0 + 9 * (model is models[2]) for model in models]

    request = ProfileRequest(
        "tflite", KernelSpace(0.1), tmp_path / "t.json", BRIEF, n_networks=0, doubts=doubts
    )
    profile_kernels(request)
    table = load_table(request.out, partial=True)
    assert len(table.ops) == 2
    assert len(asked[0]) == DRAWN_PER_DOUBTED
    assert asked[0][2] in [[key for key, _ in ran] for ran in table.kernels.values()]
    changed = replace(request, doubts=lambda _, models: [0.0, 1.0, 0.0, 0.0, 0.0])
    profile_kernels(changed)
    assert load_table(request.out, partial=True).ops == table.ops


def test_devices_without_model_files_are_refused(tmp_path):
    request = ProfileRequest("fake", KernelSpace(1), tmp_path / "t.json")
    with pytest.raises(InvalidInputError, match="runs no model files"):
        profile_kernels(request)
    with pytest.raises(InvalidInputError, match="float32"):
        profile_kernels(replace(request, spec="tflite", precision="int8"))


def test_each_configuration_gets_little_time_by_the_same_rules():
    rules = within_minutes(QUICK)
    assert rules.stopping.op_cap_s + rules.stopping.network_cap_s < 2
    assert rules.stopping.op_half_width == QUICK.stopping.op_half_width
    assert rules.digest != QUICK.digest


def test_a_table_of_kernels_has_no_width_in_its_name():
    assert default_out("cpu", KernelSpace(), quick=False).as_posix() == "tables/cpu_kernels.json"
