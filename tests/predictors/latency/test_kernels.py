"""Tables whose latencies follow known costs: the fit must find them again."""

import itertools

import numpy as np
import pytest

from predictors.latency.kernel_work import lateness, work
from predictors.latency.kernels import (
    KernelPredictor,
    Line,
    calibrated_kernels,
    family_of,
    fit_kernels,
)
from predictors.latency.lookup import calibrated_where_possible
from profiler.errors import InvalidInputError
from profiler.models.kernel import Kernel
from profiler.tables.table import load_table
from tests.predictors import synthetic_kernels
from tests.predictors.synthetic_kernels import convolution, drawn, network_ms, relu, synthetic


def others(seed=100, n=20):
    rng = np.random.default_rng(seed)
    return [drawn(rng, 40) for _ in range(n)]


@pytest.mark.parametrize("told", [True, False])
def test_networks_of_the_same_law_are_predicted(told):
    predictor = KernelPredictor(synthetic(told=told))
    for kernels in others():
        predicted = predictor.predict(kernels)
        assert predicted.latency_ms == pytest.approx(network_ms(kernels), rel=0.02)
        assert predicted.outside_share == 0
        assert predicted.unknown == ()


def test_kernels_alone_are_brought_to_the_level_of_networks():
    """Twice as many of them, in caches twice as warm, must not change what a network takes."""
    few, many = (fit_kernels(synthetic(n_alone=n)) for n in (0, 120))
    for kernels in others(n=5):
        works = [work(kernel) for kernel in kernels]
        assert many.network_ms(works) == pytest.approx(few.network_ms(works), rel=0.03)


def test_what_no_law_sees_is_learned_of_kernels_alone_where_no_shares_are_told(monkeypatch):
    """Where channels are few, a ReLU is faster than by its elements, where they are many, slower:
    by a factor of up to 1.5."""
    plain_ms = synthetic_kernels.true_ms

    def true_ms(kernel):
        is_relu, channels = kernel.kind == "Relu", kernel.outputs[0][1]
        return plain_ms(kernel) * ((channels / 128) ** 0.2 if is_relu else 1)

    monkeypatch.setattr(synthetic_kernels, "true_ms", true_ms)
    model = fit_kernels(synthetic(told=False, n_alone=120))
    relus = [relu(channels, 28) for channels in (32, 64, 128, 256, 448)]
    works = [*map(work, relus)]
    law_ms = np.array([model.kinds["Relu"].law_ms(one) for one in works])
    expected_ms = synthetic_kernels.COLD * np.array([*map(true_ms, relus)])
    of_law, learned = (np.abs(np.log(ms / expected_ms)) for ms in (law_ms, model.kernels_ms(works)))
    assert of_law.max() > 0.2
    assert (learned < of_law).all()
    assert learned.mean() < 0.6 * of_law.mean()


def test_the_interval_covers_as_it_says():
    table = calibrated_kernels(synthetic(noise=0.03, n_networks=60))
    predictor = KernelPredictor(table)
    rng = np.random.default_rng(7)
    inside = 0
    for kernels in others(n=100):
        interval = predictor.predict(kernels, confidence=0.9).interval_ms
        assert interval is not None
        low, high = interval
        inside += low <= network_ms(kernels) * rng.lognormal(0, 0.03) <= high
    assert 80 <= inside <= 98  # 90 expected
    assert table.calibration is not None
    assert table.calibration.n_networks == 60
    assert 1.5 < table.calibration.residual_mape_pct < 4  # mean |error| of the noise: 2.4 %


def test_a_line_adds_for_each_network_and_kernel_and_saves_a_quarter_at_most():
    line = Line(intercept_ms=-0.2, factor=1.1, per_kernel_ms=-0.001)
    found = line.network_ms(np.array([10.0, 0.5]), np.array([100, 50]))
    assert found == pytest.approx([1.1 * 10 - 0.2 - 0.1, 0.75 * 1.1 * 0.5])


def test_networks_of_one_length_do_not_lead_astray_what_is_shorter():
    model = fit_kernels(synthetic())  # of 40 kernels each
    few = others(n=1)[0][:3]
    assert model.network_ms([work(k) for k in few]) == pytest.approx(network_ms(few), rel=0.05)


def test_a_short_network_finds_in_the_caches_what_its_calls_need(monkeypatch):
    """Calls of 2 to 12 µs, the longer their network takes: as constants, they make the shortest
    a quarter too short."""

    def latency_ms(kernels, plain_ms=network_ms):
        found_ms = plain_ms(kernels)
        for _ in range(50):
            found_ms = plain_ms(kernels) + 0.01 * lateness(found_ms) * len(kernels)
        return found_ms

    def short(rng, n):
        return [relu(16 * int(channels), 7) for channels in rng.integers(1, 9, n)]

    monkeypatch.setattr(synthetic_kernels, "network_ms", latency_ms)
    monkeypatch.setattr(synthetic_kernels, "drawn", short)
    monkeypatch.setattr(synthetic_kernels, "LENGTHS", (20, 40, 80, 160, 320, 640))
    model = fit_kernels(synthetic(n_networks=48))
    rng = np.random.default_rng(100)
    for length in (10, 30, 60, 120, 500, 1000):
        kernels = short(rng, length)
        works = [*map(work, kernels)]
        assert model.network_ms(works) == pytest.approx(latency_ms(kernels), rel=0.12)


def test_a_family_left_out_has_no_say():
    table = synthetic()
    dear = [n.model_copy(update={"latency_ms": 5 * n.latency_ms}) if family_of(n.arch) == "b" else n
            for n in table.networks]  # fmt: skip
    spoilt = table.model_copy(update={"networks": tuple(dear)})
    works = [work(kernel) for kernel in others(n=1)[0]]
    expected = fit_kernels(table, without=["b"]).network_ms(works)
    assert fit_kernels(spoilt, without=["b"]).network_ms(works) == expected
    assert fit_kernels(spoilt).network_ms(works) > 1.2 * expected


def test_what_was_never_measured_is_named_and_counts():
    predictor = KernelPredictor(synthetic())
    kernels = others(n=1)[0]
    large = Kernel("Gather", ((1, 256, 56, 56),), ((256,),), ((1, 256, 56, 56),))
    before, after = predictor.predict(kernels), predictor.predict([*kernels, large])
    assert after.unknown == ("Gather",)
    assert after.latency_ms > before.latency_ms
    assert 0 < after.outside_share < 0.9


def test_sizes_outside_the_measured_are_counted():
    predictor = KernelPredictor(synthetic())
    assert predictor.predict([convolution(4096, 4096, 56)]).outside_share == 1
    assert predictor.predict([convolution(64, 64, 28)]).outside_share == 0


def test_too_few_networks_or_none_of_kernels_are_refused():
    with pytest.raises(InvalidInputError, match="9 networks are too few"):
        fit_kernels(synthetic(n_networks=9))
    table = synthetic().model_copy(update={"kernels": {}})
    with pytest.raises(InvalidInputError, match="has no kernels"):
        fit_kernels(table)
    with pytest.raises(InvalidInputError, match="without kernels"):
        KernelPredictor(synthetic()).predict([])


def test_a_table_keeps_its_kernels_and_gets_its_interval_when_it_is_finished(tmp_path):
    path = tmp_path / "kernels.json"
    table = synthetic()
    calibrated_where_possible(table).save(path)
    finished = load_table(path, partial=True)
    assert finished.model_copy(update={"calibration": None}) == table
    assert finished.calibration is not None
    assert finished.calibration.n_networks == 24
    assert finished.kernels == table.kernels


def test_the_same_table_is_the_same_fit():
    table = synthetic(noise=0.02)
    works = [work(kernel) for kernel in itertools.chain(*others(n=3))]
    one, two = (fit_kernels(table).kernels_ms(works) for _ in range(2))
    assert (one == two).all()


@pytest.mark.parametrize("n_networks", [9, 10, 14])  # a third of them is one family
def test_a_table_whose_families_leave_too_few_networks_is_not_calibrated(n_networks):
    table = synthetic(n_networks=n_networks)
    assert calibrated_where_possible(table) is table


def test_chains_alone_calibrate_nothing():
    table = synthetic(n_networks=12)
    names = {network.arch: f"chain {at}" for at, network in enumerate(table.networks)}
    chains = table.model_copy(
        update={
            "networks": tuple(
                network.model_copy(update={"arch": names[network.arch]})
                for network in table.networks
            ),
            "kernels": {names.get(name, name): ran for name, ran in table.kernels.items()},
        }
    )
    assert calibrated_where_possible(chains) is chains
    predicted = KernelPredictor(chains).predict(others(n=1)[0])
    assert predicted.latency_ms > 0 and predicted.interval_ms is None
