"""Generate: the most accurate architecture of a space for any budget."""

from profiler.system.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
