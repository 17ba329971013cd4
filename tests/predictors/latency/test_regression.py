from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from predictors.latency.regression import N_TREES, fit_regression, grow_forest
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_ops import OpKind
from profiler.spaces.networks import distinct_ops
from tests.predictors.synthetic import law_ms, make_table


def curved_ms(op):
    """A law that is not linear in the work: large kernels lose, deep layers gain."""
    return law_ms(op) * (1 + 0.15 * np.sin(op.kernel) + 0.1 * (op.in_channels > 80))


def a_third(table, seed):
    """All ops that are the only one of their kind, and blocks up to a third of the table."""
    keys = list(table.ops)
    alone = [key for key in keys if not key.startswith("expanded_conv")]
    blocks = [key for key in keys if key.startswith("expanded_conv")]
    rng = np.random.default_rng(seed)
    return [*alone, *rng.choice(blocks, len(keys) // 3 - len(alone), replace=False)]


def test_numpy_evaluates_the_trees_exactly_as_scikit_learn():
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(80, 12)), rng.normal(size=80)
    fresh = rng.normal(size=(300, 12))
    fresh[:80] = rows  # thresholds lie between values: also at them
    model = ExtraTreesRegressor(N_TREES, random_state=3).fit(rows, targets)
    forest = grow_forest(rows, targets, seed=3)
    assert forest.predict(fresh) == pytest.approx(model.predict(fresh), rel=1e-12, abs=1e-12)


def test_a_third_of_the_entries_predicts_the_others():
    table = make_table(alone_ms=curved_ms)
    keys = a_third(table, seed=0)
    assert len(keys) == 32
    regression = fit_regression([table], keys=keys)
    ops = distinct_ops(table.search_space)
    rest = {key: op for key, op in ops.items() if key not in set(keys)}
    predicted = regression.predict_ms(list(rest.values()))
    truth = np.array([table.ops[key].latency_ms for key in rest])
    assert np.mean(np.abs(predicted / truth - 1)) < 0.05
    assert predicted.sum() == pytest.approx(truth.sum(), rel=0.02)


def test_measured_ops_are_reproduced():
    table = make_table(alone_ms=curved_ms)
    ops = list(distinct_ops(table.search_space).values())
    truth = [table.ops[op.key].latency_ms for op in ops]
    assert fit_regression([table]).predict_ms(ops) == pytest.approx(truth, rel=1e-9)


def test_other_widths_and_resolutions_follow():
    regression = fit_regression([make_table()])
    other = MobileNetV3Space(width_mult=1.2, resolution_px=176)
    ops = list(other.distinct_ops().values())
    assert regression.predict_ms(ops) == pytest.approx([law_ms(op) for op in ops], rel=0.03)


def test_threads_and_batches_between_the_measured_ones_are_interpolated():
    tables = [
        make_table(
            alone_ms=partial(law_ms, threads=threads),
            threads=threads,
            batch_size=batch_size,
        )
        for threads in (1, 4)
        for batch_size in (1, 8)
    ]
    regression = fit_regression(tables)
    ops = list(MobileNetV3Space().distinct_ops(batch_size=4).values())
    truth = [law_ms(op, threads=2) for op in ops]
    assert regression.predict_ms(ops, threads=2) == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize(
    ("change", "threads", "reason"),
    [
        ({"kernel": 9}, 1, "kernel 9 is outside 3 to 7"),
        ({"stride": 3}, 1, "stride 3 is outside"),
        ({"batch_size": 32}, 1, "batch size 32 is outside 1 to 1"),
        ({}, 4, "thread count 4 is outside 1 to 1"),
        ({"height_px": 2000, "width_px": 2000}, 1, "multiply-adds"),
    ],
)
def test_what_lies_outside_the_measured_is_refused(change, threads, reason):
    regression = fit_regression([make_table()])
    op = replace(MobileNetV3Space().block_op(6, 6, 7), **change)
    with pytest.raises(InvalidInputError, match=reason):
        regression.predict_ms([op], threads)


def test_a_kind_that_was_not_measured_is_refused():
    table = make_table()
    keys = [key for key in table.ops if not key.startswith("Logits")]
    logits = MobileNetV3Space().head_ops()[-1]
    assert logits.kind is OpKind.LOGITS
    with pytest.raises(InvalidInputError, match="no Logits was measured"):
        fit_regression([table], keys=keys).predict_ms([logits])


def test_tables_of_different_devices_are_not_fitted_together():
    a = make_table()
    b = a.model_copy(update={"device": replace(a.device, model="Another CPU")})
    with pytest.raises(InvalidInputError, match="Synthetic CPU / law / float32 and Another CPU"):
        fit_regression([a, b])
    with pytest.raises(InvalidInputError, match="no measured ops"):
        fit_regression([a], keys=[])


def test_tables_of_one_device_in_other_modes_are_not_fitted_together():
    """A hot and a cold cache differ by more than any width; the clock follows from the threads."""

    def with_options(**options):
        device = replace(a.device, options=tuple(sorted(options.items())))
        return a.model_copy(update={"device": device})

    a = make_table()
    hot, cold = with_options(l2="hot", clock="wall"), with_options(l2="cold", clock="wall")
    with pytest.raises(InvalidInputError, match=r"float32 / l2=hot and .* / l2=cold"):
        fit_regression([hot, cold])
    fit_regression([hot, with_options(l2="hot", clock="thread_cpu")])
