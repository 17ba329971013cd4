"""Transfers between synthetic devices whose difference is known."""

import numpy as np
import pytest

from predictors.latency.features import WORK_TERMS, work
from predictors.latency.transfer import BaseDevice, Measured, TransferModel, base_sums_ms
from predictors.latency.transferred import (
    TransferTarget,
    described_device,
    transferred_table,
    worth_measuring,
)
from profiler.errors import InvalidInputError
from profiler.graph.op_shape import shape_of
from profiler.spaces.mobilenetv3 import MobileNetV3Space
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


def test_an_op_between_two_measured_sizes_lies_between_them_along_the_law():
    """A device that is slower than its law at large images, by the logarithm of their size."""

    def sized_ms(op):
        return law_ms(op) * (1 + 0.1 * np.log(shape_of(op).in_px[0]))

    tables = [
        make_table(MobileNetV3Space(resolution_px=px), alone_ms=sized_ms) for px in (224, 160)
    ]
    between = BaseDevice(*tables)
    ops = MobileNetV3Space(resolution_px=192).distinct_ops().values()
    sized = [op for op in ops if shape_of(op).in_px[0] > 14]
    predicted = [between.latency_ms(op, in_network=False) for op in sized]
    np.testing.assert_allclose(predicted, [sized_ms(op) for op in sized], rtol=0.01)


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
