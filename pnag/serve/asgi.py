"""What every request passes: a line and a count of each, HEAD, whom it asks, a bound on bodies."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from profiler.printable import printable

Log = Callable[[str], None]


def refusal(
    status: int, detail: str, headers: dict[str, str] | None = None, **fields: object
) -> JSONResponse:
    """An error as it is documented: one line in `detail`, which may name a field as it was sent."""
    line = " ".join(printable(detail).splitlines())
    document = {"detail": line, "reachable_ms": None} | fields
    return JSONResponse(document, status_code=status, headers=headers)


class Observed:
    """Counts answers by path and status, writes a line for each, and answers HEAD as GET.

    What went wrong unforeseen is a documented 500, with its traceback in the log.

    Args:
        answered: counts by (path, status); paths other than `paths` are one.
        log: gets the line.
    """

    def __init__(
        self, app: ASGIApp, *, paths: Collection[str], log: Log,
        answered: Counter[tuple[str, int]],
    ) -> None:  # fmt: skip
        self._app, self._paths, self._log, self._answered = app, paths, log, answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, bare = time.perf_counter(), 0, scope["method"] == "HEAD"

        async def answer(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send({**message, "body": b""} if bare and "body" in message else message)

        try:
            await self._app({**scope, "method": "GET"} if bare else scope, receive, answer)
        except Exception:
            logging.getLogger("pnag.serve").exception("a request failed")
            if not status:
                await refusal(500, "the service failed; its log says why")(scope, receive, answer)
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._answered[path, status] += 1
        host = scope["client"][0] if scope.get("client") else "-"
        asked = scope.get("raw_path", b"-").decode("ascii", "backslashreplace")  # escaped as sent
        elapsed_ms = 1e3 * (time.perf_counter() - begun)
        self._log(f"{host} {scope['method']} {asked!r} {status} {elapsed_ms:.1f} ms")


class KnownHosts:
    """Refuses requests for other names than `names` with 421, so that no page of the web can make
    its own name lead here and read the answers (DNS rebinding). An address is nobody's name.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope).getlist("host") if scope["type"] == "http" else []
        if all(map(self._is_known, asked)):
            await self._app(scope, receive, send)
            return
        said = "the request names another host than this one; --allow-host NAME lets it in"
        await refusal(421, said)(scope, receive, send)

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or is_address(name)


def is_address(host: str) -> bool:
    """Whether it is an IP address, and not a name.

    >>> is_address("::1"), is_address("localhost")
    (True, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class BodyLimit:
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
                said = f"the body is longer than {self._max_bytes} bytes"
                await refusal(413, said, {"Connection": "close"})(scope, receive, send)
                return
            if not message.get("more_body", False):
                break

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)
