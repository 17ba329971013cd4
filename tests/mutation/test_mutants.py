"""What mistakes are made, and what becomes of them."""

import pytest

from tests.mutation.mutants import mutants_of
from tests.mutation.targets import TARGETS
from tests.mutation.trials import ROOT, Fate, Trials


@pytest.mark.parametrize(
    ("line", "mistakes"),
    [
        ("x = a < b", ["x = a <= b", "x = a >= b"]),
        ("x = a - b / c", ["x = a + b / c", "x = a - b * c"]),
        ("x = not a or b", ["x = not a and b", "x = a or b"]),
        ("x = 2.5", ["x = 3.5", "x = 1.5"]),
        ("x = True", ["x = False"]),
        ("x = a[b:-1]", ["x = a[b + 1:-1]", "x = a[b:1]", "x = a[b:-2]", "x = a[b:-0]"]),
        ("x = a.min()", ["x = a.max()"]),
        ("x = np.searchsorted(a, b, side='left')",
         ["x = np.searchsorted(b, a, side='left')", "x = np.searchsorted(a, b, side='right')"]),
        ("x = np.maximum(a, b)", ["x = np.minimum(a, b)"]),
        ("x = a if b else c", ["x = a if not b else c"]),
        ("x = [a for a in b if c]", ["x = [a for a in b]"]),
        ("x += a", ["x -= a", "pass"]),
        ("x[a] = b", ["pass"]),
        ("x: Literal[1] = 'text'", []),
    ],
)  # fmt: skip
def test_each_kind_of_mistake_once(line, mistakes):
    assert sorted(mutant.source() for mutant in mutants_of(line)) == sorted(mistakes)


@pytest.mark.parametrize(
    ("promised", "value"),
    [("float", "x + 1"), ("bool", "not x"), ("Op | None", "None"), ("Op", None)],
)
def test_another_value_is_returned_of_the_same_type(promised, value):
    found = [m.source() for m in mutants_of(f"def f(x) -> {promised}:\n    return x")]
    assert found == ([f"def f(x) -> {promised}:\n    return {value}"] if value else [])


def test_a_mutant_names_its_line_and_leaves_the_tree():
    source = "def f(x):\n    '''1 and 2.'''\n    return x or 'a'"
    (mutant,) = mutants_of(source)
    assert mutant.difference() == "3: - return x or 'a'\n    + return x and 'a'"
    assert mutant.difference() == mutants_of(source)[0].difference()


def test_the_targets_exist():
    for target in TARGETS.values():
        for path in (f"{target.module.replace('.', '/')}.py", *target.tests):
            assert (ROOT / path).is_file()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of a process with threads
def test_mutants_are_killed_survive_or_never_end(tmp_path):
    source = "def count(n):\n    while n > 0:\n        n -= 1\n    return n <= 0"
    (tmp_path / "counted.py").write_text(source)
    (tmp_path / "test_counted.py").write_text(
        "from counted import count\n\ndef test_count():\n    assert count(3)"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    trials = Trials("counted", ["test_counted.py"], folder, tmp_path)
    assert trials.begin() < 60
    assert list(trials.seconds) == ["test_counted.py::test_count"]
    assert trials.fate(source, 60) is Fate.SURVIVED
    assert trials.fate(source.replace("n <= 0", "n < 0"), 60) is Fate.KILLED
    assert trials.fate(source.replace("n -= 1", "n += 1"), 1) is Fate.TIMED_OUT
    (tmp_path / "test_counted.py").write_text("def test_nothing():\n    assert False")
    with pytest.raises(SystemExit, match="assert False"):
        trials.begin()
