"""Imports run one way: between packages, between the rooms of a package, without circles.

A room is a folder, or a module beside the folders. Imports inside functions count, and those for
type checkers too.
"""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["profiler", "predictors", "pnag"]  # each may import those before it
# The rooms of each package from the bottom up: each may import those of the lines above it.
ROOMS = {
    "profiler": [
        ["errors", "flags", "numerals", "printable"],
        ["cost_columns", "extras"],
        ["system", "terminal"],
        ["graph"],
        ["models", "spaces"],
        ["devices"],
        ["tables"],
        ["measuring"],
        ["devices.host"],
        ["devices.android", "devices.cuda", "devices.simulated"],
        ["testing"],
        ["cli"],
    ],
    "predictors": [
        ["base", "threads"],
        ["enumerated", "intervals", "tabular"],
        ["cost"],
        ["accuracy", "latency"],
        ["testing"],
        ["cli"],
    ],
    "pnag": [
        ["search", "tracking"],
        ["generated", "learning", "plots"],
        ["generate"],
        ["baselines", "runs"],
        ["supernet", "verify"],
        ["refine", "results"],
        ["report"],
        ["demo", "serve", "testing"],
        ["cli"],
    ],
}
VENDOR_SDKS = [
    "onnxruntime",
    "ai_edge_litert",
    "tflite_runtime",
    "adbutils",
    "pynvml",
    "sklearn",
    "ray",
    "mlflow",
    "wandb",
]


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    """
    >>> module_name(ROOT / "profiler/devices/__init__.py")
    'profiler.devices'
    """
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> frozenset[str]:
    return frozenset(module_name(path) for package in LAYERS for path in sources(package))


@cache
def imported_modules(path: Path) -> frozenset[str]:
    """What a file imports; of `from package import name`, the module where `name` is one."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their package"
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (named & modules()) or {str(node.module)}
    return frozenset(found)


def room(module: str) -> str:
    """The listed room that a module is in, without its package; "" for the package itself."""
    package, _, path = module.partition(".")
    rooms = {name for line in ROOMS[package] for name in line}
    while path and path not in rooms:
        path = path.rpartition(".")[0]
    return path


def rank(module: str) -> int:
    lines = ROOMS[module.partition(".")[0]]
    return next((i for i, line in enumerate(lines) if room(module) in line), len(lines))


@pytest.mark.parametrize("package", LAYERS)
def test_packages_import_one_way(package):
    forbidden = set(LAYERS[LAYERS.index(package) + 1 :]) | {"tests", "benchmarks"}
    for path in sources(package):
        breaches = {name for name in imported_modules(path) if name.split(".")[0] in forbidden}
        assert not breaches, f"{path.relative_to(ROOT)} imports {sorted(breaches)}"


@pytest.mark.parametrize("package", LAYERS)
def test_every_module_is_in_a_room(package):
    """Also none imports its package's face, which is for users."""
    assert [m for m in modules() if m.startswith(f"{package}.") and not room(m)] == []


@pytest.mark.parametrize("package", LAYERS)
def test_rooms_import_downwards(package):
    breaches = []
    for path in sources(package):
        here = module_name(path)
        for there in imported_modules(path):
            inside = there.partition(".")[0] == package and room(there) != room(here)
            if inside and rank(there) >= rank(here):
                breaches.append(f"{here} -> {there}")
    assert not breaches, "\n".join(breaches)


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        module_name(path): imported_modules(path) & modules()
        for package in LAYERS
        for path in sources(package)
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_only_commands_import_commands():
    for package in [*LAYERS, "benchmarks"]:
        for path in sources(package):
            if "cli" not in module_name(path).split("."):
                commands = {name for name in imported_modules(path) if "cli" in name.split(".")}
                assert not commands, f"{path.relative_to(ROOT)} imports {sorted(commands)}"


@pytest.mark.parametrize("sdk", VENDOR_SDKS)
def test_each_vendor_sdk_is_imported_in_one_module_at_most(sdk):
    homes = [
        module_name(path)
        for package in LAYERS
        for path in sources(package)
        if any(name.split(".")[0] == sdk for name in imported_modules(path))
    ]
    assert len(homes) <= 1, f"{sdk} is imported in {homes}"
