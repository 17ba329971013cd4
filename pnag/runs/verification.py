"""What measuring generated networks showed: kept in the run, and used until it is dropped.

By `generate --verify-on`, which measures the candidates of budgets, and by `train --refine-on`,
which measures networks all along the frontier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pnag.generated import DEFAULT_CONFIDENCE, GeneratedArchitecture, Origin, UnmetBudget, described
from pnag.runs.inputs import LATENCY_FILE
from pnag.search.bounds import Bounds, bounded_costs
from pnag.search.independence import occurrences
from pnag.search.problem import Problem
from predictors.base import CostFunction
from predictors.latency.lookup import cost_from_table
from profiler.devices.base import DeviceInfo
from profiler.errors import InvalidInputError
from profiler.system.atomic import write_text_atomic
from profiler.system.sqlite_files import remove_database
from profiler.system.stamp import now, this_tool
from profiler.system.user_files import check_schema, read_json, validated
from profiler.tables.sessions import SessionLevel
from profiler.tables.table import Calibration, LatencyTable, NetworkEntry

VERIFICATION_FILE = "verification.json"
JOURNAL_FILE = "refinement.journal.sqlite"  # raw samples of --refine-on
LATER_JOURNAL_FILE = "refinement.{}.journal.sqlite"  # of another hour, by the launches known before
SCHEMA: Final = "pnag.verification/1"


class VerifiedPick(BaseModel):
    """The architecture that a budget got, and what else it was asked with."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    budget_ms: float = Field(gt=0)
    confidence: float | None = None
    bounds: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    pure: bool = False
    arch: str
    origin: Origin

    @model_validator(mode="before")
    @classmethod
    def _of_former_files(cls, pick: Any) -> Any:
        """They had a field for each of two bounds."""
        if not isinstance(pick, dict):
            return pick
        former = {name: pick.get(f"max_{name}") for name in ("madds", "params")}
        bounds = {name: bound for name, bound in former.items() if bound is not None}
        kept = {name: value for name, value in pick.items() if name[:4] != "max_"}
        return kept | {"bounds": bounds} if bounds else kept

    @property
    def asked(self) -> Asked:
        return _asked(self.budget_ms, self.confidence, self.bounds, self.pure)


Asked = tuple[float, float | None, frozenset[tuple[str, float]], bool]


def _asked(budget_ms: float, confidence: float | None, bounds: Bounds, pure: bool) -> Asked:
    return budget_ms, confidence, frozenset(bounds.items()), pure


class KeptVerification(BaseModel):
    """Measured networks, the calibration that they correct, and the picks.

    `latency_table` is the SHA-256 of the run's table, whose ops the calibration is for;
    without a calibration there were too few networks for one. `sessions` are those in which the
    networks were measured; `refined` is when the frontier was, if it was.
    """

    schema_: Literal["pnag.verification/1"] = Field(
        default=SCHEMA, validation_alias="schema", serialization_alias="schema"
    )
    latency_table: str
    device: DeviceInfo
    same_device: bool
    networks: tuple[NetworkEntry, ...]
    calibration: Calibration | None
    picks: tuple[VerifiedPick, ...]
    sessions: tuple[SessionLevel, ...] = ()
    refined: str | None = None
    created: str
    tool: str

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )

    @classmethod
    def of(
        cls, folder: Path, device: DeviceInfo, *, same_device: bool,
        calibration: Calibration | None, networks: Sequence[NetworkEntry],
        sessions: Sequence[SessionLevel], picks: Sequence[VerifiedPick] = (), refines: bool = False,
    ) -> KeptVerification:  # fmt: skip
        """What was now measured on `device` of the run in `folder`."""
        created = now()
        return cls(
            latency_table=table_digest(folder),
            device=device,
            same_device=same_device,
            networks=tuple(networks),
            calibration=calibration,
            picks=tuple(picks),
            sessions=tuple(sessions),
            refined=created if refines else None,
            created=created,
            tool=this_tool(),
        )

    @property
    def measured(self) -> dict[str, NetworkEntry]:
        """By architecture."""
        return {network.arch: network for network in self.networks}

    def is_of(self, device: DeviceInfo) -> bool:
        """Whether its latencies and those of `device` belong on one scale."""
        from profiler.measuring.follow_up import same_device  # measuring takes 0.1 s to import

        return same_device(self.device, device)

    def cost(self, table: LatencyTable) -> CostFunction:
        """c(α) from the run's table, corrected."""
        if self.calibration is None:
            return cost_from_table(table)
        return cost_from_table(table.model_copy(update={"calibration": self.calibration}))

    def in_place_of(
        self, made: Sequence[GeneratedArchitecture | UnmetBudget], problem: Problem,
        confidence: float | None, *, pure: bool,
    ) -> list[GeneratedArchitecture | UnmetBudget]:  # fmt: skip
        """The pick of each budget that was verified with the same request, as long as it holds by
        the measurement and by the corrected `problem`; what was `made` for the others.

        A request given again draws anew.
        """
        by_request = {pick.asked: pick for pick in self.picks}
        requests = [_asked(one.budget_ms, confidence, one.bounds, pure) for one in made]
        found = []
        for one, asked, again in zip(made, requests, occurrences(requests), strict=True):
            pick = None if again else by_request.get(asked)
            found.append((pick and self._holding(pick, one, problem)) or one)
        return found

    def _holding(
        self, pick: VerifiedPick, made: GeneratedArchitecture | UnmetBudget, problem: Problem
    ) -> GeneratedArchitecture | None:
        measured = self.measured.get(pick.arch)
        if measured is None or measured.latency_ms > pick.budget_ms:
            return None
        costs = bounded_costs(problem, [pick.budget_ms], pick.bounds, pick.confidence)
        elapsed_ms = made.generation_ms if isinstance(made, GeneratedArchitecture) else 0.0
        (found,) = described(
            problem, costs, problem.space.parse(pick.arch)[None], elapsed_ms,
            pick.confidence or DEFAULT_CONFIDENCE,
        )  # fmt: skip
        return replace(found, origin=pick.origin) if found.feasible else None

    def over(self, earlier: KeptVerification | None) -> KeptVerification:
        """This one with what an earlier one of the same device has beside it."""
        if earlier is None or not earlier.is_of(self.device):
            return self
        asked, measured = {pick.asked for pick in self.picks}, self.measured
        picks = [pick for pick in earlier.picks if pick.asked not in asked]
        networks = [network for network in earlier.networks if network.arch not in measured]
        return self.model_copy(
            update={
                "picks": (*picks, *self.picks),
                "networks": (*networks, *self.networks),
                "calibration": self.calibration or earlier.calibration,
                "sessions": (*earlier.sessions, *self.sessions),
                "refined": self.refined or earlier.refined,
            }
        )

    def save(self, folder: Path) -> None:
        text = self.model_dump_json(by_alias=True, indent=1)
        write_text_atomic(folder / VERIFICATION_FILE, text + "\n")


def read_verification(folder: Path) -> KeptVerification | None:
    """What a run keeps; None if nothing.

    Raises:
        InvalidInputError: damaged, or of another latency table than the run's.
    """
    path = folder / VERIFICATION_FILE
    if not path.exists():
        return None
    document = read_json(path)
    check_schema(document, SCHEMA, path)
    kept = validated(KeptVerification, document, path)
    if kept.latency_table != table_digest(folder):
        raise InvalidInputError(f"{path} is of another latency table; --drop-verification")
    return kept


def journal_file(earlier: KeptVerification | None) -> str:
    """Of a refinement that follows: what an earlier hour read stays as it is."""
    if earlier is None or earlier.refined is None:
        return JOURNAL_FILE
    return LATER_JOURNAL_FILE.format(len(earlier.sessions))


def drop_verification(folder: Path) -> bool:
    """Whether there was one; its samples go with it, so that refining measures anew."""
    path = folder / VERIFICATION_FILE
    found = path.exists()
    for journal in (folder / JOURNAL_FILE, *folder.glob(LATER_JOURNAL_FILE.format("*"))):
        remove_database(journal)  # first: cut off here, it is not yet dropped
    path.unlink(missing_ok=True)
    return found


def table_digest(folder: Path) -> str:
    """SHA-256 of a run's latency table."""
    return hashlib.sha256((folder / LATENCY_FILE).read_bytes()).hexdigest()
