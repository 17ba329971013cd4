"""What the service answers: budgets in, the documents of `pnag generate --json` out.

One generation runs at a time, beside the event loop, so that /health and /metrics answer while a
large request is at work, and one whose asker went away is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException

from pnag.generate import DEFAULT_SAMPLES
from pnag.generated import GeneratedArchitecture, UnmetBudget
from pnag.results import generated_results
from pnag.runs.run import Run
from pnag.search.bounds import Bounds
from pnag.serve.asgi import BodyLimit, KnownHosts, Log, Observed, refusal
from pnag.serve.metrics import metrics_text
from pnag.serve.work import AbandonedError, BusyError, WorkQueue
from profiler.errors import PnagError

MAX_BUDGETS = 32
MAX_SAMPLES = 128
MAX_BUDGET_MS = 1e6
MAX_COUNT = 1e12
MAX_BOUNDS = 8
MAX_SEED = 2**32 - 1
MAX_BODY_BYTES = 16_384
PATHS = ("/", "/health", "/metrics", "/generate", "/openapi.json")
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class _Document(BaseModel):
    """Strict: a number is no string, and an unknown field is an error, not ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _whole(value: Any) -> Any:
    """JSON Schema's integers include 5.0; strict ones of pydantic do not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Samples = Annotated[int, Field(ge=1, le=MAX_SAMPLES), BeforeValidator(_whole)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED), BeforeValidator(_whole)]


class GenerateRequest(_Document):
    budgets_ms: list[Annotated[float, Field(gt=0, le=MAX_BUDGET_MS)]] = Field(
        min_length=1, max_length=MAX_BUDGETS, description="One architecture is made for each."
    )
    samples: Samples = Field(default=DEFAULT_SAMPLES, description="Drawn per budget.")
    confidence: float | None = Field(
        default=None, gt=0, lt=1, description="Probability that each latency is within its budget."
    )
    max_madds: float | None = Field(default=None, gt=0, le=MAX_COUNT)
    max_params: float | None = Field(default=None, gt=0, le=MAX_COUNT)
    bounds: dict[str, Annotated[float, Field(gt=0, le=MAX_COUNT)]] = Field(
        default_factory=dict,
        max_length=MAX_BOUNDS,
        description="On further costs of the run by name, in their units; see /health.",
    )
    pure: bool = Field(default=False, description="The generator alone; see `origin`.")
    seed: Seed | None = Field(default=None, description="By default the service's.")

    @property
    def every_bound(self) -> Bounds:
        return self.bounds | self._counted

    @property
    def _counted(self) -> dict[str, float]:
        counts = {"madds": self.max_madds, "params": self.max_params}
        return {name: most for name, most in counts.items() if most is not None}

    @model_validator(mode="after")
    def _bounds_once(self) -> Self:
        for name in self.bounds.keys() & self._counted:
            raise PydanticCustomError("bounded_twice", f"{name} is bounded twice")
        return self


class SpentResult(_Document):
    unit: str
    value: float
    interval: list[float] | None
    bound: float | None = Field(description="Asked for.")
    used: float | None = Field(description="The share of the bound that it takes.")


class ArchitectureResult(_Document):
    budget_ms: float
    arch: str
    latency_ms: float
    interval_ms: list[float] | None
    top1: float = Field(description="A fraction.")
    top1_interval: list[float] | None
    feasible: bool
    generation_ms: float
    origin: Literal["generated", "evaluated"] = Field(
        description="Made by the generator, or evaluated in training and better."
    )
    bound: str = Field(description="The cost whose bound held it back.")
    bound_used: float = Field(description="The share of that bound that it takes.")
    costs: dict[str, SpentResult] | None = Field(
        default=None, description="Where there is more than one; the latency's is the first."
    )


class NetworkResult(ArchitectureResult):
    ofa: dict[str, Any] | None = Field(
        default=None, description="Once-for-All's dict of one of its networks: d, ks, e, r."
    )
    madds: int
    params: int
    measured_ms: float | None = Field(default=None, description="Of a verified network.")
    measured_ci95_ms: list[float] | None = None
    verdict: str | None = None


class RowResult(ArchitectureResult):
    tokens: list[str] = Field(description="Values of a tabular space's row.")


class UnmetResult(_Document):
    budget_ms: float
    feasible: Literal[False]
    reachable_ms: list[float] = Field(description="Budgets that the latency alone allows.")
    reason: str
    bounds: dict[str, float] | None = Field(default=None, description="What else was asked for.")
    reachable: dict[str, list[float]] | None = Field(
        default=None, description="What each of these costs alone allows."
    )


class Verified(_Document):
    created: str
    device: dict[str, Any]


class GenerateResponse(_Document):
    verified: Verified | None = Field(default=None, description="What corrected the latencies.")
    results: list[NetworkResult | RowResult | ArchitectureResult | UnmetResult]


class Refusal(_Document):
    detail: str = Field(description="One line that says what to do.")
    reachable_ms: list[float] | None = Field(
        default=None, description="Budgets that this run can meet, where one was infeasible."
    )


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": why}
    for status, why in {
        400: "The body is not JSON.",
        409: "This run cannot meet the request.",
        413: "The body is too long.",
        422: "A value is missing, unknown or out of range.",
        503: "Too much is waiting; see Retry-After.",
    }.items()
}


class Health(_Document):
    status: Literal["ok"]
    version: str
    space: str
    reachable_ms: list[float]
    bounds: dict[str, str] = Field(description="Further costs that may be bounded; their units.")


def create_app(
    run: Run, *, seed: int = 0, log: Log = lambda line: None, queue: WorkQueue | None = None,
    host_names: Collection[str] | None = None,
) -> FastAPI:  # fmt: skip
    """The ASGI application around one trained run.

    Args:
        seed: that of requests without one.
        log: gets a line for each request.
        host_names: that a request may ask, beside addresses; None: whichever.
    """
    queue = queue or WorkQueue()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        queue.close()

    app = FastAPI(
        title="pnag",
        summary="Architectures within a latency budget.",
        version=version("pnag"),
        lifespan=lifespan,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
    )
    answered: Counter[tuple[str, int]] = Counter()
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    if host_names is not None:
        app.add_middleware(KnownHosts, names=host_names)
    app.add_middleware(Observed, paths=PATHS, log=log, answered=answered)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_as_said)
    _add_pages(app, run, lambda: metrics_text(answered, queue))

    @app.post(
        "/generate",
        response_model=GenerateResponse,
        response_model_exclude_unset=True,
        responses=REFUSALS,
    )
    async def generate(body: GenerateRequest, request: Request) -> Any:
        """The best architecture for each budget; none exceeds its budget."""
        n_draws = len(body.budgets_ms) * body.samples
        try:
            made = await queue.run(_answer(run, body, seed), n_draws, _left(request))
        except BusyError as error:
            retry = {"Retry-After": str(error.retry_after_s)}
            return refusal(503, str(error), retry)
        except AbandonedError as error:
            return refusal(499, str(error))  # for the log: nobody reads it
        except PnagError as error:
            return refusal(409, str(error))
        unmet = [one for one in made if isinstance(one, UnmetBudget)]
        if len(unmet) == len(made):
            return refusal(409, unmet[0].reason, reachable_ms=list(unmet[0].reachable_ms))
        return generated_results(made, run.problem.space, run.verification)

    return app


def _add_pages(app: FastAPI, run: Run, metrics: Callable[[], str]) -> None:
    """What answers at once, whatever is at work."""

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        text = files("pnag.serve").joinpath("page.html").read_text(encoding="utf-8")
        return HTMLResponse(text, headers={"Content-Security-Policy": PAGE_POLICY})

    @app.get("/health")
    async def health() -> Health:
        """Whether the service is up, and which budgets it can meet."""
        return Health(
            status="ok",
            version=app.version,
            space=run.problem.space.name,
            reachable_ms=list(run.reachable_ms),
            bounds={name: cost.unit for name, cost in run.problem.further.items()},
        )

    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics() -> PlainTextResponse:
        """Counters in Prometheus' text format."""
        return PlainTextResponse(metrics(), media_type="text/plain; version=0.0.4")


def _answer(
    run: Run, request: GenerateRequest, seed: int
) -> Callable[[], Sequence[GeneratedArchitecture | UnmetBudget]]:
    return lambda: run.generate_each(
        request.budgets_ms,
        n_samples=request.samples,
        confidence=request.confidence,
        bounds=request.every_bound,
        pure=request.pure,
        seed=seed if request.seed is None else request.seed,
    )


async def _left(request: Request) -> None:
    """Ends when who asked has gone; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refuse_invalid(request: Request, error: Exception) -> JSONResponse:
    """The first fault as one line, without echoing what was sent."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return refusal(400, f"the body is not JSON: {first['ctx']['error']}")
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return refusal(422, f"{where or 'body'}: {first['msg']}")


async def _refuse_as_said(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses (a path, a method, a body that it cannot read), as all else is."""
    if not isinstance(error, HTTPException):
        raise error
    return refusal(error.status_code, error.detail, dict(error.headers or {}))
