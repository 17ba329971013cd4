"""Measuring with few samples, for tests whose subject is not the precision of figures."""

from dataclasses import replace

from profiler.measuring.protocol import QUICK

FAST = replace(QUICK, stopping=replace(QUICK.stopping, min_blocks=10, resamples=100))
