"""Measuring with few samples, for tests whose subject is not the precision of figures."""

from dataclasses import replace

from profiler.measuring.protocol import QUICK

FAST = replace(QUICK, stopping=replace(QUICK.stopping, min_blocks=10, resamples=100))

# on this machine, which is neither quiet nor steady while other tests are at work on it
BRIEF = replace(
    FAST,
    warm_up=replace(FAST.warm_up, max_s=0.5),
    stopping=replace(FAST.stopping, op_half_width=0.2, network_half_width=0.2),
    gate=replace(FAST.gate, max_wait_s=0.5),
)
