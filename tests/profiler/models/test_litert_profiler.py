from typing import cast

import pytest

from profiler.errors import MeasurementError
from profiler.models.litert_profiler import ProfiledOp, parse_summary

SUMMARY = """\
============================== Run Order ==============================
          [node type]  [start]  [first]  [avg ms]  [%]  [cdf%]  [mem KB] [times called] [Name]
  Delegate/Convolution (NHWC, F32) IGEMM  0.0  0.274  1.5  43.922%  43.922%  0.0  20 [Delegate]:0
                CONV_2D    0.000    0.052     0.081   2.392%  46.314%   0.000        10 [a b, c]:1

============================== Top by Computation Time ==============================
Number of nodes executed: 2
"""


def test_the_summary_is_read_by_its_table_in_run_order():
    first, second = parse_summary(SUMMARY)
    assert first == ProfiledOp("[Delegate]:0", "Convolution (NHWC, F32) IGEMM", 30.0, 20)
    assert second == ProfiledOp("[a b, c]:1", "CONV_2D", cast(float, pytest.approx(0.81)), 10)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "missing_profile"),
        (SUMMARY.replace("executed: 2", "executed: 3"), "garbled_profile"),
        (SUMMARY.replace("  0.081 ", " unknown "), "garbled_profile"),
        (SUMMARY.partition("==== Top")[0], "garbled_profile"),
    ],
)
def test_a_summary_that_is_not_whole_is_refused(text, reason):
    with pytest.raises(MeasurementError) as error:
        parse_summary(text)
    assert error.value.reason == reason
