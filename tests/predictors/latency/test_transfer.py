"""Transfers between synthetic devices whose difference is known."""

import numpy as np
import pytest

from predictors.latency.features import SHAPE_FEATURES, WORK_TERMS, work
from predictors.latency.lookup import calibration_of
from predictors.latency.transfer import (
    BaseDevice,
    Measured,
    TransferModel,
    base_sums_ms,
    transfer_ridge,
)
from predictors.latency.transferred import (
    TransferTarget,
    described_device,
    transferred_table,
    worth_measuring,
)
from profiler.errors import InvalidInputError
from profiler.graph.op_shape import shape_of
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.op_factors import op_factor
from profiler.tables.table import LatencyTable, TransferSample, Verdict
from tests.predictors.synthetic import law_ms, make_table

SPACE = MobileNetV3Space()
OPS = list(SPACE.distinct_ops().values())
ARCHS = [SPACE.decode(row) for row in SPACE.sample(40, np.random.default_rng(3))]


def other_ms(op):
    """2.5 times the base, and more for large kernels, less for squeeze-and-excitation."""
    return 2.5 * law_ms(op) * (1 + 0.04 * (op.kernel - 3) - 0.06 * op.se)


@pytest.fixture(scope="module")
def table():
    return make_table()


@pytest.fixture(scope="module")
def base(table):
    return BaseDevice(table)


def blocks(latency_ms, count=30, seed=0):
    chosen = np.random.default_rng(seed).permutation(len(OPS))[:count]
    return [Measured((OPS[i],), latency_ms(OPS[i]), "mine", False) for i in chosen]


def networks(archs, latency_ms, source="mine", factor=1.0, space=SPACE):
    return [
        Measured(
            tuple(space.ops(arch)), factor * sum(map(latency_ms, space.ops(arch))), source, True
        )
        for arch in archs
    ]


def sample(arch, latency_ms, source="mine", factor=1.0):
    total = factor * sum(map(latency_ms, SPACE.ops(arch)))
    return TransferSample(arch=str(arch), latency_ms=total, source=source)


def transfer_of(table: LatencyTable):
    assert table.transfer is not None
    return table.transfer


def mape_pct(predicted, latency_ms):
    return 100 * np.mean(np.abs(np.divide(predicted, [latency_ms(op) for op in OPS]) - 1))


def test_a_device_that_is_a_multiple_of_the_base_is_found_from_three_blocks(base):
    model = TransferModel(base, blocks(lambda op: 1.7 * law_ms(op), count=3))
    predicted = model.predict_ms(OPS, "mine, blocks", in_network=False)
    assert mape_pct(predicted, lambda op: 1.7 * law_ms(op)) < 0.01


def test_what_differs_with_the_shape_is_learnt_from_blocks(base):
    model = TransferModel(base, blocks(other_ms))
    predicted = model.predict_ms(OPS, "mine, blocks", in_network=False)
    one_factor = 2.5 * np.array([law_ms(op) for op in OPS])
    assert mape_pct(predicted, other_ms) < 1.0 < 5.0 < mape_pct(one_factor, other_ms)
    assert model.mape_pct < 3


def test_and_from_whole_networks(base):
    model = TransferModel(base, networks(ARCHS[:15], other_ms))
    held_out = networks(ARCHS[15:], other_ms)
    predicted = [
        model.intercept_ms + model.predict_ms(one.ops, one.scale, in_network=True).sum()
        for one in held_out
    ]
    np.testing.assert_allclose(predicted, [one.latency_ms for one in held_out], rtol=0.01)


def test_noise_alone_moves_no_op_far(base):
    rng = np.random.default_rng(1)
    model = TransferModel(base, blocks(lambda op: 2 * law_ms(op) * np.exp(rng.normal(0, 0.02))))
    predicted = model.predict_ms(OPS, "mine, blocks", in_network=False)
    assert mape_pct(predicted, lambda op: 2 * law_ms(op)) < 1.5


def test_sources_keep_their_own_scale(table):
    samples = [
        *(sample(arch, other_ms, "new runtime") for arch in ARCHS[:6]),
        *(sample(arch, other_ms, "old runtime", 1.8) for arch in ARCHS[6:12]),
    ]
    device = described_device("phone", table)
    with pytest.raises(InvalidInputError, match=r"2 sources .* \(--source\)"):
        transferred_table([table], samples, TransferTarget(device))
    made = {
        source: transferred_table([table], samples, TransferTarget(device, source=source))
        for source in ("new runtime", "old runtime")
    }
    new, old = (np.array([entry.latency_ms for entry in t.ops.values()]) for t in made.values())
    np.testing.assert_allclose(old / new, 1.8, rtol=0.03)
    transfer = transfer_of(made["new runtime"])
    assert transfer.sources["new runtime, networks"] == 1.0
    assert transfer.sources["old runtime, networks"] == pytest.approx(1.8, rel=0.03)
    assert transfer.worst_pct < 2


def test_the_table_says_what_it_is(table):
    samples = [sample(arch, other_ms) for arch in ARCHS[:12]]
    made = transferred_table([table], samples, TransferTarget(described_device("phone", table)))
    assert made.ops.keys() == table.ops.keys()
    assert {entry.verdict for entry in made.ops.values()} == {Verdict.TRANSFERRED}
    assert (made.device.model, made.device.platform) == ("phone", "transferred")
    assert transfer_of(made).base[0].device_model == "Synthetic CPU"
    assert [s.latency_ms for s in transfer_of(made).samples] == [s.latency_ms for s in samples]
    assert made.calibration is not None and made.calibration.n_networks == 12
    assert max(made.calibration.relative_quantiles) == pytest.approx(12 / 13)
    left_out = np.array([s.left_out_ms for s in transfer_of(made).samples])
    errors = 100 * np.abs(left_out / [s.latency_ms for s in samples] - 1)
    assert transfer_of(made).mape_pct == pytest.approx(errors.mean())
    assert transfer_of(made).worst_pct == pytest.approx(errors.max())


def test_blocks_alone_give_a_table_without_a_calibration(table):
    samples = [
        TransferSample(key=op.key, latency_ms=other_ms(op), source="mine") for op in OPS[::4]
    ]
    made = transferred_table([table], samples, TransferTarget(described_device("phone", table)))
    assert made.calibration is None
    assert transfer_of(made).scale_of == "mine, blocks"
    assert mape_pct([made.ops[op.key].latency_ms for op in OPS], other_ms) < 1.5


def test_blocks_and_networks_of_one_source_are_on_the_scale_of_networks(table):
    samples = [
        *(TransferSample(key=op.key, latency_ms=other_ms(op), source="mine") for op in OPS[::4]),
        *(sample(arch, other_ms, factor=0.9) for arch in ARCHS[:8]),
    ]
    made = transferred_table([table], samples, TransferTarget(described_device("phone", table)))
    assert transfer_of(made).scale_of == "mine, networks"
    assert transfer_of(made).sources["mine, blocks"] == pytest.approx(1 / 0.9, rel=0.02)
    assert mape_pct([made.ops[op.key].latency_ms for op in OPS], lambda op: 0.9 * other_ms(op)) < 2


def test_ops_that_the_base_lacks_come_from_its_regression(table):
    small = MobileNetV3Space(resolution_px=192)
    samples = [
        sample(arch, other_ms).model_copy(update={"resolution_px": 224}) for arch in ARCHS[:12]
    ]
    made = transferred_table(
        [table], samples, TransferTarget(described_device("phone", table), small)
    )
    assert str(made.space) == "mbv3 width 1 at 192 px"
    lacking = small.distinct_ops().keys() - table.ops.keys()
    assert set(transfer_of(made).from_regression) == lacking
    errors = [
        made.ops[key].latency_ms / other_ms(op) - 1 for key, op in small.distinct_ops().items()
    ]
    assert 100 * np.mean(np.abs(errors)) < 3


def test_networks_of_another_width_and_resolution_are_samples_too(table):
    wide = MobileNetV3Space("mbv3", 1.2, 240)
    archs = [wide.decode(row) for row in wide.sample(4, np.random.default_rng(0))]
    samples = [
        *(sample(arch, other_ms) for arch in ARCHS[:8]),
        *(
            TransferSample(
                arch=str(arch),
                width_mult=1.2,
                resolution_px=240,
                latency_ms=sum(map(other_ms, wide.ops(arch))),
                source="mine",
            )
            for arch in archs
        ),
    ]
    made = transferred_table([table], samples, TransferTarget(described_device("phone", table)))
    assert transfer_of(made).worst_pct < 3


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "0 measured numbers"),
        ([sample(arch, other_ms) for arch in ARCHS[:2]], "at least 3"),
        ([TransferSample(key="nonsense", latency_ms=1, source="a")] * 3, "not an op key"),
        ([TransferSample(arch="1:2:3", latency_ms=1, source="a")] * 3, "malformed architecture"),
    ],
)
def test_what_is_not_enough_or_not_of_the_space_is_refused(table, samples, message):
    with pytest.raises(InvalidInputError, match=message):
        transferred_table([table], samples, TransferTarget(described_device("phone", table)))


def px_of(op):
    return shape_of(op).in_px[0]


def sized_ms(op):
    """Each op departs from the law by a power of its image's size, which no regression knows."""
    channels = shape_of(op).mid_channels + shape_of(op).out_channels
    return law_ms(op) * (px_of(op) / 28) ** (0.3 * np.sin(channels))


def of_all_sizes(op):
    """What ops that differ in the size of their images only have in common."""
    return op.kind, shape_of(op).in_channels, tuple(node.layer for node in op.graph.nodes)


def test_an_op_between_two_measured_sizes_lies_between_them_along_the_law():
    spaces = [MobileNetV3Space(resolution_px=px) for px in (224, 160, 128)]
    base = BaseDevice(*(make_table(space, alone_ms=sized_ms) for space in spaces))
    ops = MobileNetV3Space(resolution_px=192).distinct_ops().values()
    between = [op for op in ops if px_of(op) > 14]
    truth = [sized_ms(op) for op in between]
    predicted = [base.latency_ms(op, in_network=False) for op in between]
    np.testing.assert_allclose(predicted, truth, rtol=0.01)
    assert np.abs(base.regression.predict_ms(between, 1) / truth - 1).max() > 0.1
    measured = [op for space in spaces for op in space.distinct_ops().values()]
    for op in between[::20]:
        small, large = (
            min(
                (m for m in measured if of_all_sizes(m) == of_all_sizes(op) and px_of(m) in sizes),
                key=lambda m: abs(px_of(m) - px_of(op)),
            )
            for sizes in (range(px_of(op)), range(px_of(op) + 1, 225))
        )
        low, here, high = base.regression.law.predict_ms([small, op, large], np.ones(3))
        share = np.log(px_of(op) / px_of(small)) / np.log(px_of(large) / px_of(small))
        ratio = (sized_ms(small) / low) ** (1 - share) * (sized_ms(large) / high) ** share
        assert base.latency_ms(op, in_network=False) == pytest.approx(here * ratio)


def test_in_a_network_an_op_takes_what_the_bases_calibration_says():
    """And the first of several tables counts, without those of other threads or batches."""
    first = make_table(n_networks=12)
    other = make_table(alone_ms=lambda op: 1.01 * law_ms(op))
    small = MobileNetV3Space(resolution_px=192)
    base = BaseDevice(first, other, make_table(small, threads=2), make_table(batch_size=8))
    assert (base.batch_size, base.threads) == (1, 1)
    calibration = calibration_of(first)
    assert calibration is not None
    for op in OPS[::20]:
        assert base.has(op)
        assert base.latency_ms(op, in_network=False) == law_ms(op)
        inside_ms = base.latency_ms(op, in_network=True)
        assert inside_ms == op_factor(calibration, op) * law_ms(op)
        assert inside_ms == pytest.approx(0.9 * law_ms(op), rel=0.02)
    assert {base.has(op) for op in small.distinct_ops().values() if op not in OPS} == {False}


def test_a_base_is_one_device(table):
    with pytest.raises(InvalidInputError, match=r"Synthetic CPU .* and Synthetic GPU"):
        BaseDevice(table, make_table(platform="gpu"))


def test_features_are_in_units_of_the_bases_ops():
    base = BaseDevice(
        make_table(alone_ms=lambda op: law_ms(op) * (1.3 - 0.6 * shape_of(op).has_gate))
    )
    unknown = next(
        op for op in MobileNetV3Space(resolution_px=192).distinct_ops().values() if op not in OPS
    )
    found = base.features([*OPS, unknown])
    of_shape = np.array([found[name] for name in SHAPE_FEATURES])[:, :-1]
    np.testing.assert_allclose(of_shape.mean(axis=1), 0, atol=1e-9)
    varies = of_shape.std(axis=1) > 0
    np.testing.assert_allclose(of_shape.std(axis=1)[varies], 1)
    at = SHAPE_FEATURES.index("stride")
    strides = np.array([shape_of(op).stride for op in OPS])
    np.testing.assert_allclose(of_shape[at], (strides - strides.mean()) / strides.std())
    law_ms_of = base.regression.law.predict_ms(OPS, np.ones(len(OPS)))
    known_ms = [base.latency_ms(op, in_network=False) for op in OPS]
    np.testing.assert_allclose(found["law"][:-1], law_ms_of / known_ms - 1)
    assert found["law"][-1] == 0
    assert np.abs(found["law"]).max() > 0.05
    kinds = np.array([found[name] for name in found if name.startswith("kind=")])
    assert (kinds.sum(axis=0) == 1).all() and len(kinds) > 1
    path, *by_size = (found[name] for name in found if name.startswith("large_depthwise_madds"))
    madds = WORK_TERMS.index("large_depthwise_madds")
    large = np.array([work(op, 1)[madds] > 0 for op in [*OPS, unknown]])
    assert ((path > 0) == large).all() and large.any()
    assert path[:-1][large[:-1]].mean() == pytest.approx(1)
    np.testing.assert_array_equal(np.sum(by_size, axis=0), path)
    assert all(column.any() for column in by_size)


def test_a_source_of_three_numbers_has_their_median_ratio_and_one_of_fewer_that_of_all(base):
    ratios = zip(OPS, (1.7, 2.0, 2.6, 3.0, 3.5), "aaabb", strict=False)
    measured = [Measured((op,), ratio * law_ms(op), name, False) for op, ratio, name in ratios]
    factors = TransferModel(base, measured).factors
    assert factors == pytest.approx({"a, blocks": 2.0, "b, blocks": 2.6})


def test_the_terms_are_of_what_the_base_takes(base):
    measured = [*blocks(law_ms, 4), *networks(ARCHS[:3], law_ms, "other")]
    base_ms = base_sums_ms(base, measured)
    latency_ms = np.arange(1.0, 8.0)
    ridge = transfer_ridge(base, measured, {"mine, blocks": 2, "other, networks": 3}, latency_ms)
    total_ms = base_ms * [2, 2, 2, 2, 3, 3, 3]
    np.testing.assert_allclose(base_ms, [one.latency_ms for one in measured])
    np.testing.assert_allclose(ridge.expected_ms, total_ms)
    np.testing.assert_allclose(ridge.noise_ms, 0.02 * latency_ms)
    is_network = np.array([0, 0, 0, 0, 1, 1, 1])
    expected = {
        "common": (total_ms, 1.0),
        "mine, blocks": (total_ms * (1 - is_network), 0.2),
        "other, networks": (total_ms * is_network, 0.2),
        "intercept": (is_network, 0.05 * 6.0),  # of the mean of the networks' latencies
    }
    assert ridge.always.keys() == expected.keys()
    for name, (amounts_ms, width) in expected.items():
        np.testing.assert_allclose(ridge.always[name].amounts_ms, amounts_ms)
        assert ridge.always[name].width == pytest.approx(width)
    kinds = [term.amounts_ms for name, term in ridge.supported.items() if name.startswith("kind=")]
    np.testing.assert_allclose(np.sum(kinds, axis=0), total_ms)
    assert {name.partition(" ")[0] for name in ridge.optional} == {"large_depthwise_madds"}
    widths = {name: term.width for name, term in {**ridge.supported, **ridge.optional}.items()}
    assert (widths["law"], widths["stride"], widths["large_depthwise_madds"]) == (0.5, 0.05, 10)
    assert {w for name, w in widths.items() if name.endswith("px") and " at " in name} == {1.0}


def test_blocks_of_one_source_have_no_further_terms(base):
    measured = blocks(law_ms, 4)
    ridge = transfer_ridge(base, measured, {"mine, blocks": 1}, base_sums_ms(base, measured))
    assert list(ridge.always) == ["common"]


def test_errors_and_intervals_are_of_left_out_numbers(base):
    rng = np.random.default_rng(1)
    model = TransferModel(base, blocks(lambda op: law_ms(op) * np.exp(rng.normal(0, 0.02)), 8))
    errors = np.abs(model.latency_ms - model.left_out_ms)
    assert model.mape_pct == pytest.approx(100 * np.mean(errors / model.latency_ms))
    some = [0, 3, 5]
    _, middle, widest = np.sort(errors[some] / model.left_out_ms[some])
    assert model.relative_quantiles(some) == pytest.approx({0.5: middle, 0.75: widest})
    assert model.intercept_ms == 0


def test_predictions_are_the_factor_times_the_weighted_features(base):
    model = TransferModel(base, [*blocks(other_ms), *networks(ARCHS[:5], other_ms, "other")])
    weights, features = model._weights, base.features(OPS)
    factor = model.factors["other, networks"]
    share = 1 + weights["common"] + weights["other, networks"]
    assert model.scale_factor("other, networks") == pytest.approx(factor * share)
    assert model.intercept_ms == weights["intercept"] != 0
    shares = share + sum(weights.get(name, 0) * column for name, column in features.items())
    predicted = model.predict_ms(OPS, "other, networks", in_network=False)
    np.testing.assert_allclose(predicted, factor * shares * [law_ms(op) for op in OPS])
    model._weights["common"] = -5.0
    floored = model.predict_ms(OPS, "other, networks", in_network=False)
    np.testing.assert_allclose(floored, factor * 0.02 * np.array([law_ms(op) for op in OPS]))


def test_what_is_worth_measuring_is_not_what_a_draw_gives(table):
    chosen = worth_measuring(table, 12)
    assert len(chosen.ops) + len(chosen.networks) == 12
    assert worth_measuring(table, 12) == chosen
    errors: dict[str, list[float]] = {"chosen": [], "random": []}
    held_out = networks(ARCHS, other_ms)
    drawn = [SPACE.decode(row) for row in SPACE.sample(12, np.random.default_rng(11))]
    measured = {
        "chosen": networks(map(SPACE.parse_architecture, chosen.networks), other_ms)
        + [Measured((op,), other_ms(op), "mine", False) for op in OPS if op.key in set(chosen.ops)],
        "random": networks(drawn, other_ms),
    }
    for how, numbers in measured.items():
        model = TransferModel(BaseDevice(table), numbers)
        for one in held_out:
            total = model.predict_ms(one.ops, one.scale, in_network=True).sum()
            errors[how].append(abs((model.intercept_ms + total) / one.latency_ms - 1))
    assert np.mean(errors["chosen"]) < np.mean(errors["random"])
    assert np.mean(errors["chosen"]) < 0.01


def test_a_runtime_that_is_far_slower_for_large_kernels_is_found(table):
    """As XNNPACK beyond 25 taps: by multiply-adds, whatever the base takes for the op."""

    def slow_ms(op):
        large_madds = work(op, 1)[WORK_TERMS.index("large_depthwise_madds")]
        return 0.9 * law_ms(op) + 5e-7 * large_madds

    chosen = worth_measuring(table, 15)
    archs = [SPACE.parse_architecture(arch) for arch in chosen.networks]
    model = TransferModel(BaseDevice(table), networks(archs, slow_ms))
    held_out = networks(ARCHS, slow_ms)
    predicted = [
        model.intercept_ms + model.predict_ms(one.ops, one.scale, in_network=True).sum()
        for one in held_out
    ]
    latency_ms = np.array([one.latency_ms for one in held_out])
    base_ms = base_sums_ms(BaseDevice(table), held_out)
    assert (latency_ms / base_ms).max() > 2 * (latency_ms / base_ms).min()
    np.testing.assert_allclose(predicted, latency_ms, rtol=0.03)
