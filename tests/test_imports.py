"""The dependencies between packages run one way, and each vendor SDK has one home."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["profiler", "predictors", "pnag"]  # each may import those before it
VENDOR_SDKS = [
    "onnxruntime",
    "ai_edge_litert",
    "tflite_runtime",
    "adbutils",
    "pynvml",
    "sklearn",
    "ray",
]


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", LAYERS)
def test_imports_run_one_way(package):
    forbidden = set(LAYERS[LAYERS.index(package) + 1 :]) | {"tests", "benchmarks"}
    for path in sources(package):
        breaches = {name for name in imported_modules(path) if name.split(".")[0] in forbidden}
        assert not breaches, f"{path.relative_to(ROOT)} imports {sorted(breaches)}"


@pytest.mark.parametrize("sdk", VENDOR_SDKS)
def test_each_vendor_sdk_is_imported_in_one_module_at_most(sdk):
    homes = [
        str(path.relative_to(ROOT))
        for package in LAYERS
        for path in sources(package)
        if any(name.split(".")[0] == sdk for name in imported_modules(path))
    ]
    assert len(homes) <= 1, f"{sdk} is imported in {homes}"
