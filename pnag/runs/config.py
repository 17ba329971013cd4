"""A run's config.json: its settings, what it was trained from, and when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pnag.learning.settings import TrainSettings
from profiler.errors import InvalidInputError
from profiler.system.atomic import write_text_atomic
from profiler.system.user_files import check_schema, read_json, validated

SCHEMA = "pnag.run/1"
CONFIG_FILE = "config.json"
LATENCY = "latency"  # of runs that say no other name


class _Input(BaseModel):
    source: str
    sha256: str


class _Config(BaseModel):
    """What every config holds; more is for later versions to know."""

    model_config = ConfigDict(allow_inf_nan=False)

    space: str
    cost_name: str = LATENCY
    settings: dict[str, Any]
    inputs: dict[str, _Input]
    reachable_ms: tuple[float, float]
    versions: dict[str, str]
    created: str
    evaluator_kendall_tau: list[float] = []
    finished: str | None = None


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` says of a run, finished or not.

    Raises:
        InvalidInputError: no run, one of another version, or a damaged file.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        raise InvalidInputError(f"{folder} is not a run: it has no {CONFIG_FILE}")
    config: dict[str, Any] = read_json(path)
    check_schema(config, SCHEMA, path)
    validated(_Config, config, path)
    return config


def cost_name_of(config: dict[str, Any]) -> str:
    """What the run calls the cost that its budgets are of."""
    return str(config.get("cost_name", LATENCY))


def write_config(folder: Path, config: dict[str, Any]) -> None:
    write_text_atomic(folder / CONFIG_FILE, json.dumps(config, indent=1) + "\n")


def settings_of(folder: Path, config: dict[str, Any]) -> TrainSettings:
    """The settings that a config holds.

    Raises:
        InvalidInputError: values that no training had.
    """
    try:
        return TrainSettings.from_json(config["settings"])
    except InvalidInputError as error:
        path = folder / CONFIG_FILE
        raise InvalidInputError(f"{path} has no valid settings: {error}") from None


def hashes_of(config: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of each input by its name in the folder."""
    return {name: entry["sha256"] for name, entry in config["inputs"].items()}
