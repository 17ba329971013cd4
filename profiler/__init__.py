"""Measure: search spaces, devices, and the latency tables of one on the other."""

from profiler.system.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
