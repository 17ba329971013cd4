"""The PyPI package `ofa` as an oracle.

Its data loaders import torchvision and its downloads gdown, which no oracle needs; where they
are not installed, empty modules take their place while `ofa` is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

import pytest


def import_ofa(name: str) -> ModuleType:
    """The module `name` of `ofa`; skips the test where `ofa` is not installed."""
    pytest.importorskip("ofa")
    absent = {
        module: stand_in
        for module, stand_in in _stand_ins().items()
        if importlib.util.find_spec(module.partition(".")[0]) is None
    }
    sys.modules.update(absent)
    try:
        return importlib.import_module(name)
    finally:
        for module in absent:
            del sys.modules[module]


def _stand_ins() -> dict[str, ModuleType]:
    names = ("gdown", "torchvision", "torchvision.datasets", "torchvision.transforms")
    modules = {name: ModuleType(name) for name in (*names, "torchvision.transforms.functional")}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    # a base class in ofa
    modules["torchvision.transforms"].__dict__["RandomResizedCrop"] = object
    return modules
