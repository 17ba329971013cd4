"""Packages that not everybody needs: the extras of pnag, and the one line that names a missing one.

Measuring and predicting need none of them.
"""

from __future__ import annotations

from importlib.util import find_spec

from profiler.errors import InvalidInputError, PnagError

# By the names to import, what none of their commands can do without.
EXTRAS = {
    "train": ("torch", "matplotlib"),
    "report": ("torch", "matplotlib"),
    "torch": ("torch",),
    "tensorboard": ("torch", "tensorboard"),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
    "supernet": ("torch", "PIL"),
    "serve": ("torch", "fastapi", "uvicorn"),
    "fleet": ("ray",),
    "pandas": ("pandas",),
}


def require(extra: str, what: str, error: type[PnagError] = InvalidInputError) -> None:
    """Refuse to begin `what` where a package of its extra is absent; imports nothing.

    Raises:
        InvalidInputError: one is; or the given `error`.
    """
    absent = [package for package in EXTRAS[extra] if find_spec(package) is None]
    if absent:
        listed = " and ".join(filter(None, (", ".join(absent[:-1]), absent[-1])))
        raise error(f"{what} needs {listed}: {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """A command for the reader's shell, which takes brackets for a pattern."""
    return f"pip install 'pnag[{extra}]'"


def extra_with(package: str) -> str | None:
    """The extra for whoever lacks this package, by the name to import; None of others.

    >>> extra_with("torch"), extra_with("ray"), extra_with("numpy")
    ('train', 'fleet', None)
    """
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)
