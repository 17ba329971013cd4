"""`mlflow` and `wandb` as far as they are called: signatures of mlflow 3.17 and wandb 0.31.

Each notes what it was given, and refuses what the real one refuses.
"""

import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


@dataclass
class Tracked:
    """What one run of a tracker holds."""

    id: str
    name: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    ended: str = ""

    def add(self, metrics, step):
        assert all(isinstance(value, float | int) for value in metrics.values())
        self.metrics.setdefault(step, {}).update(metrics)


class MLflow(ModuleType):
    def __init__(self):
        super().__init__("mlflow")
        self.__spec__ = ModuleSpec("mlflow", None)
        self.runs: dict[str, Tracked] = {}
        self.active: Any = None

    def start_run(
        self, run_id=None, experiment_id=None, run_name=None, nested=False, parent_run_id=None,
        tags=None, description=None, log_system_metrics=None,
    ):  # fmt: skip
        assert self.active is None, "Run is already active"
        if run_id is None:
            new = Tracked(f"m{len(self.runs)}", run_name)
            self.runs[new.id] = new
        self.active = self.runs[run_id or new.id]
        return SimpleNamespace(info=SimpleNamespace(run_id=self.active.id))

    def log_params(self, params, synchronous=None, run_id=None):
        known = self.active.settings
        assert not any(known.get(name, value) != value for name, value in params.items())
        known |= params

    def log_metrics(
        self, metrics, step=None, synchronous=None, run_id=None, timestamp=None, model_id=None,
        dataset=None,
    ):  # fmt: skip
        self.active.add(metrics, step)

    def log_artifact(self, local_path, artifact_path=None, run_id=None):
        self.active.tables[Path(local_path).name] = Path(local_path).read_bytes()

    def end_run(self, status="FINISHED"):
        self.active.ended, self.active = status, None


class Wandb(ModuleType):
    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.runs: dict[str, Tracked] = {}
        self.Artifact = Artifact

    def init(
        self, entity=None, project=None, dir=None, id=None, name=None, notes=None,  # noqa: A002
        tags=None, config=None, mode=None, resume=None,
    ):  # fmt: skip
        assert id is None or resume in ("allow", "must")
        assert Path(dir).is_dir() and project == "pnag"
        held = self.runs.get(id) or Tracked(f"w{len(self.runs)}", name)
        self.runs[held.id] = held
        held.settings |= config
        return WandbRun(held)


class WandbRun:
    def __init__(self, held):
        self.id, self._held = held.id, held

    def log(self, data, step=None, commit=None):
        assert step >= max(self._held.metrics, default=0), "steps only rise"
        self._held.add(data, step)

    def log_artifact(self, artifact_or_path, name=None, type=None, aliases=None, tags=None):  # noqa: A002
        self._held.tables |= artifact_or_path.files

    def finish(self, exit_code=None):
        self._held.ended = "FAILED" if exit_code else "FINISHED"


class Artifact:
    def __init__(self, name, type, description=None, metadata=None):  # noqa: A002
        assert "/" not in name
        self.files: dict[str, bytes] = {}

    def add_file(self, local_path, name=None, is_tmp=False, skip_cache=False):
        self.files[Path(local_path).name] = Path(local_path).read_bytes()


def installed(monkeypatch, name):
    """The stand-in, in place of what may be installed."""
    module = {"mlflow": MLflow, "wandb": Wandb}[name]()
    monkeypatch.setitem(sys.modules, name, module)
    return module
