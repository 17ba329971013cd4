"""What --verify-on showed is kept in the run, used from then on, and dropped when asked."""

import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import jsonschema
import pytest
from safetensors import safe_open

from pnag.cli.app import run as pnag
from pnag.report.contents import Sources, gather
from pnag.runs.run import load_run
from pnag.runs.verification import (
    VERIFICATION_FILE,
    KeptVerification,
    drop_verification,
    read_verification,
)
from profiler.devices.base import network_workload
from profiler.devices.simulated.fake import NETWORK_SHARE, FakeDevice
from profiler.tables.table import load_table
from tests.pnag.profiled import DEVICE, SILENT

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def verified(profiled_folder, tmp_path_factory):
    """A run whose networks turned out slower on the replay device, and what was said."""
    folder = tmp_path_factory.mktemp("verified") / "run"
    shutil.copytree(profiled_folder, folder)
    low, high = load_run(folder).reachable_ms
    spec = f"replay:{folder / 'latency_table.json'}"
    return folder, spec, low + 0.4 * (high - low)


@pytest.fixture(scope="module")
def picked(verified):
    folder, spec, budget_ms = verified
    return generated(folder, budget_ms, "--verify-on", spec)


def kept_in(folder):
    kept = read_verification(folder)
    assert kept is not None
    return kept


def generated(folder, budget_ms, *options):
    """The row of a budget, as `generate --json` prints it."""
    arguments = ["generate", "--run", folder, "--budget", budget_ms, *options, "--quiet"]
    return document_of(*arguments)["results"][0]


def document_of(*arguments):
    with redirect_stdout(StringIO()) as out:
        assert pnag([*map(str, arguments), "--json"]) == 0
    return json.loads(out.getvalue())


@pytest.fixture
def copied(verified, picked, tmp_path):
    shutil.copytree(verified[0], tmp_path / "run")
    return tmp_path / "run"


def test_the_next_generation_gives_the_verified_network(copied, verified, picked, tmp_path):
    _, _, budget_ms = verified
    export = ("--export", "torch", "--out", tmp_path / "nets")
    again = generated(copied, budget_ms, *export)
    for name in ("arch", "latency_ms", "top1", "origin", "measured_ms", "verdict", "feasible"):
        assert again[name] == picked[name], name
    assert picked["changed"] and picked["measured_ms"] <= budget_ms
    with safe_open(again["files"][0], "pt") as file:
        assert file.metadata()["arch"] == picked["arch"]


def test_other_requests_are_by_the_corrected_latencies(copied, verified, profiled_folder):
    _, _, budget_ms = verified
    corrected, trained = load_run(copied), load_run(profiled_folder)
    ratios = [a / b for a, b in zip(corrected.reachable_ms, trained.reachable_ms, strict=True)]
    assert ratios == pytest.approx([1 / NETWORK_SHARE] * 2, rel=0.02)
    elsewhere = generated(copied, 1.2 * budget_ms)
    tokens = trained.problem.space.parse(elsewhere["arch"])[None]
    assert elsewhere["latency_ms"] / trained.problem.cost(tokens)[0] == pytest.approx(
        1 / NETWORK_SHARE, rel=0.01
    )
    pure = generated(copied, budget_ms, "--pure")
    assert pure["latency_ms"] <= budget_ms and "changed" not in pure


def test_it_says_what_it_rests_on_and_can_be_dropped(copied, verified, picked, capsys):
    _, _, budget_ms = verified
    kept = kept_in(copied)
    assert {picked["arch"]} == {pick.arch for pick in kept.picks}
    assert kept.measured[picked["arch"]].latency_ms == picked["measured_ms"]
    arguments = ["generate", "--run", str(copied), "--budget", str(budget_ms)]
    assert pnag(arguments) == 0
    note = f"c(α) as corrected by {len(kept.networks)} networks measured on fake 1, {kept.created}"
    assert note in capsys.readouterr().err
    document = document_of(*arguments, "--quiet")
    assert document["verified"]["created"] == kept.created
    assert document["verified"]["device"]["model"] == "fake 1"
    dropped = generated(copied, budget_ms, "--drop-verification")
    assert dropped["arch"] == picked["candidates"][0]["arch"] != picked["arch"]
    assert "measured_ms" not in dropped
    assert not (copied / VERIFICATION_FILE).exists()


def test_what_a_drop_was_cut_off_from_is_still_to_be_dropped(copied, monkeypatch):
    """Samples that were left alone would be gone on with by the next --refine-on."""

    def interrupt(_):
        raise KeyboardInterrupt

    kept = kept_in(copied)
    monkeypatch.setattr("pnag.runs.verification.remove_database", interrupt)
    with pytest.raises(KeyboardInterrupt):
        drop_verification(copied)
    assert kept_in(copied) == kept


def test_the_file_conforms_to_its_schema(copied):
    definition = json.loads((ROOT / "docs/schemas/verification-1.json").read_text())
    jsonschema.Draft202012Validator.check_schema(definition)
    document = json.loads((copied / VERIFICATION_FILE).read_text())
    jsonschema.Draft202012Validator(definition).validate(document)
    written = KeptVerification.model_json_schema(mode="validation")
    assert definition["$defs"] == written["$defs"]
    assert definition["properties"] == written["properties"]


def test_a_later_verification_adds_to_an_earlier_one(copied, verified, picked):
    _, spec, budget_ms = verified
    other = generated(copied, 1.3 * budget_ms, "--verify-on", spec)
    kept = kept_in(copied)
    assert [pick.budget_ms for pick in kept.picks] == [budget_ms, 1.3 * budget_ms]
    assert kept.measured.keys() >= {picked["arch"], other["arch"]}
    assert generated(copied, budget_ms)["arch"] == picked["arch"]
    assert generated(copied, 1.3 * budget_ms)["arch"] == other["arch"]


def test_one_network_more_on_another_device_than_the_tables_adds_to_its_correction(
    copied, verified
):
    _, spec, budget_ms = verified
    earlier = kept_in(copied)
    assert not earlier.same_device and earlier.calibration is not None
    generated(copied, 1.3 * budget_ms, "--verify-on", spec, "--candidates", 1)
    later = kept_in(copied)
    assert later.measured.keys() > earlier.measured.keys()
    assert later.calibration is not None
    assert later.calibration.n_networks > earlier.calibration.n_networks
    bare = later.model_copy(update={"calibration": None})
    assert bare.over(earlier).calibration == earlier.calibration


def test_another_device_of_the_same_model_replaces_what_was_kept(copied, verified, picked):
    """A verification on the fake device after one on its replay, where networks are slower."""
    _, _, budget_ms = verified
    replayed = kept_in(copied)
    budget_ms *= 1.3
    row = generated(copied, budget_ms, "--verify-on", DEVICE, "--candidates", 2)
    kept = kept_in(copied)
    assert kept.device.model == replayed.device.model
    assert kept.same_device and [pick.arch for pick in kept.picks] == [row["arch"]]
    device, space = FakeDevice(1), load_table(copied / "latency_table.json").search_space
    for network in kept.networks:
        truth_ms = device.latency_ms(network_workload(space, space.parse(network.arch)))
        assert network.latency_ms == pytest.approx(truth_ms, rel=0.02)


def test_a_report_shows_what_was_verified_on_its_device(profiled_folder, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(profiled_folder, folder)
    low, high = load_run(folder).reachable_ms
    row = generated(folder, (low + high) / 2, "--verify-on", DEVICE, "--candidates", "2")
    contents = gather(folder, Sources(), SILENT, n_budgets=5)
    (choice,) = [choice for choice in contents.choices if choice.measured]
    assert (choice.made.arch, choice.made.budget_ms) == (row["arch"], row["budget_ms"])
    assert choice.measured and choice.measured.latency_ms == row["measured_ms"]
    later = [check for check in contents.checks if not check.fitted]
    assert len(later) == len(kept_in(folder).networks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.update(schema="pnag.verification/9"), "verification/9"),
        (lambda document: document.update(latency_table="0" * 64), "of another latency table"),
        (lambda document: document["networks"][0].update(latency_ms=-1.0), "networks.0.latency_ms"),
    ],
)
def test_what_was_changed_is_refused_in_one_line(copied, verified, change, message, capsys):
    _, _, budget_ms = verified
    document = json.loads((copied / VERIFICATION_FILE).read_text())
    change(document)
    (copied / VERIFICATION_FILE).write_text(json.dumps(document))
    arguments = ["generate", "--run", str(copied), "--budget", str(budget_ms), "--quiet"]
    assert pnag(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert pnag([*arguments, "--drop-verification"]) == 0
