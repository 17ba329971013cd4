"""The generator as a small HTTP service: a budget in, an architecture and its prediction out.

The documents are those of `pnag generate --json`. One generation runs at a time, beside the
event loop, so that /health answers while a large request is at work.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pnag.generate import DEFAULT_SAMPLES, Limits
from pnag.results import generated_results
from pnag.runs.run import Run
from profiler.errors import InfeasibleBudgetError, InvalidInputError, PnagError

MAX_BUDGETS = 32
MAX_SAMPLES = 128
MAX_BUDGET_MS = 1e6
MAX_COUNT = 1e12
MAX_SEED = 2**32 - 1
MAX_BODY_BYTES = 16_384
MAX_WAITING = 128  # open requests; beyond, uvicorn answers 503


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
        default=None, gt=0, lt=1, description="Keep latency plus its interval within the budget."
    )
    max_madds: float | None = Field(default=None, gt=0, le=MAX_COUNT)
    max_params: float | None = Field(default=None, gt=0, le=MAX_COUNT)
    seed: Seed | None = Field(default=None, description="By default the service's.")


class ArchitectureResult(_Document):
    budget_ms: float
    arch: str
    latency_ms: float
    interval_ms: list[float] | None
    top1: float = Field(description="A fraction.")
    feasible: bool
    generation_ms: float


class NetworkResult(ArchitectureResult):
    ofa: dict[str, Any] = Field(description="Once-for-All's dict: d, ks, e, r.")


class RowResult(ArchitectureResult):
    tokens: list[str] = Field(description="Values of a tabular space's row.")


class GenerateResponse(_Document):
    results: list[NetworkResult | RowResult | ArchitectureResult]


class Refusal(_Document):
    detail: str = Field(description="One line that says what to do.")
    reachable_ms: list[float] | None = Field(
        default=None, description="Budgets that this run can meet, where one was infeasible."
    )


class Health(_Document):
    status: Literal["ok"]
    version: str
    space: str
    reachable_ms: list[float]


def create_app(run: Run, *, seed: int = 0) -> FastAPI:
    """The ASGI application around one trained run; `seed` is that of requests without one."""
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        worker.shutdown(cancel_futures=True)

    app = FastAPI(
        title="pnag",
        summary="Architectures within a latency budget.",
        version=version("pnag"),
        lifespan=lifespan,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(_BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)

    @app.get("/health")
    async def health() -> Health:
        """Whether the service is up, and which budgets it can meet."""
        return Health(
            status="ok",
            version=app.version,
            space=run.problem.space.name,
            reachable_ms=list(run.reachable_ms),
        )

    @app.post(
        "/generate",
        response_model=GenerateResponse,
        responses={
            400: {"model": Refusal, "description": "The body is not JSON."},
            409: {"model": Refusal, "description": "This run cannot meet the request."},
            413: {"model": Refusal, "description": "The body is too long."},
            422: {"model": Refusal, "description": "A value is missing, unknown or out of range."},
        },
    )
    async def generate(request: GenerateRequest) -> Any:
        """The best architecture for each budget; none exceeds its budget."""
        answer = _answer(run, request, seed)
        try:
            return await asyncio.get_running_loop().run_in_executor(worker, answer)
        except PnagError as error:
            return _refusal(409, str(error), reachable_ms=_reachable(run, request, error))

    return app


def _answer(run: Run, request: GenerateRequest, seed: int) -> Callable[[], dict[str, Any]]:
    def answer() -> dict[str, Any]:
        made = run.generate(
            request.budgets_ms,
            n_samples=request.samples,
            confidence=request.confidence,
            limits=Limits(request.max_madds, request.max_params),
            seed=seed if request.seed is None else request.seed,
        )
        return generated_results(made, run.problem.space)

    return answer


def _reachable(run: Run, request: GenerateRequest, error: PnagError) -> list[float] | None:
    """Range of budgets that the latency alone allows, if the budget was what failed."""
    if not isinstance(error, InfeasibleBudgetError):
        return None
    confidence = request.confidence
    margin = run.problem.cost.relative_interval(confidence) if confidence else 0.0
    return [bound * (1 + margin) for bound in run.reachable_ms]


def _refusal(status: int, detail: str, **fields: Any) -> JSONResponse:
    return JSONResponse(Refusal(detail=detail, **fields).model_dump(), status_code=status)


async def _refuse_invalid(request: Request, error: Exception) -> JSONResponse:
    """The first fault as one line, without echoing what was sent."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return _refusal(422, f"{where or 'body'}: {first['msg']}")


class _BodyLimit:
    """Refuses bodies beyond `max_bytes` with 413, whether their length is announced or not."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []
        n_bytes = 0
        while True:
            message = await receive()
            messages.append(message)
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._max_bytes:
                refusal = _refusal(413, f"the body is longer than {self._max_bytes} bytes")
                await refusal(scope, receive, send)
                return
            if not message.get("more_body", False):
                break

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that its port is known before the service starts; 0 takes a free one.

    Raises:
        InvalidInputError: the address is not one of this machine, or the port is taken.
    """
    # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named
    listener = socket.socket(_family(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise InvalidInputError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "choose another --host or --port"
        ) from None
    return listener


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def serve(run: Run, listener: socket.socket, *, seed: int = 0) -> None:
    """Serve until interrupted; open requests are answered first."""
    import torch
    import uvicorn

    torch.set_num_threads(1)  # its matrices are small: more threads only cost hand-overs
    config = uvicorn.Config(
        create_app(run, seed=seed),
        log_level="warning",
        limit_concurrency=MAX_WAITING,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])
