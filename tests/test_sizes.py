"""Functions that can be read at once."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_LINES = 60


@pytest.mark.parametrize("folder", ["profiler", "predictors", "pnag", "benchmarks", "tests"])
def test_functions_are_short(folder):
    too_long = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if n_lines > MAX_LINES:
                    too_long.append(f"{path.relative_to(ROOT)}: {node.name}, {n_lines} lines")
    assert not too_long, "\n".join(too_long)
