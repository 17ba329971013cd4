"""Predict: costs c(α) with intervals from latency tables, and accuracies."""

from profiler.system.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
