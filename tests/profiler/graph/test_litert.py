"""The one loader: which runtime is taken, and what is said when none can be."""

import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import numpy as np
import pytest

from profiler.errors import DeviceUnavailableError, MeasurementError
from profiler.graph import litert


@pytest.fixture
def installed(monkeypatch):
    """Hides `ai_edge_litert`; says which version of tflite-runtime (or None) there is."""

    def install(numpy_version, tflite_runtime):
        def distribution_version(name):
            if name == "tflite-runtime" and tflite_runtime:
                return tflite_runtime
            raise PackageNotFoundError(name)

        monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
        package = ModuleType("tflite_runtime")
        interpreter = ModuleType("tflite_runtime.interpreter")
        monkeypatch.setattr(package, "interpreter", interpreter, raising=False)
        for module in (package, interpreter):
            monkeypatch.setitem(sys.modules, module.__name__, module if tflite_runtime else None)
        monkeypatch.setattr(litert, "version", distribution_version)
        monkeypatch.setattr(np, "__version__", numpy_version)

    return install


def test_litert_comes_first():
    runtime = litert.load_runtime()
    assert runtime.module is sys.modules["ai_edge_litert.interpreter"]
    assert (runtime.name, runtime.version) == ("LiteRT", version("ai-edge-litert"))


def test_tflite_runtime_is_the_fallback_under_numpy_1(installed):
    installed("1.26.4", "2.14.0")
    runtime = litert.load_runtime()
    assert runtime.module is sys.modules["tflite_runtime.interpreter"]
    assert (runtime.name, runtime.version) == ("TensorFlow Lite", "2.14.0")


def test_tflite_runtime_is_refused_under_numpy_2_before_it_is_imported(installed):
    installed("2.1.0", "2.14.0")
    with pytest.raises(DeviceUnavailableError, match=r"crashes under numpy 2\.1\.0"):
        litert.load_runtime()


def test_without_any_runtime_the_error_says_what_to_install(installed):
    installed("2.1.0", None)
    with pytest.raises(DeviceUnavailableError, match="pip install ai-edge-litert"):
        litert.load_runtime()
    with pytest.raises(DeviceUnavailableError, match="pip install ai-edge-litert"):
        litert.load_schema()


def test_a_file_that_is_no_model_is_a_typed_failure():
    with pytest.raises(MeasurementError, match="refuses the model") as error:
        litert.Model(b"not a model" * 9)
    assert error.value.reason == "model_refused"
    assert not error.value.transient
