"""The socket, and connections that nobody can hold open against others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from pnag.runs.run import Run
from pnag.serve.app import create_app
from pnag.serve.asgi import Log
from profiler.errors import InvalidInputError

REQUEST_S = 10.0  # for a request to come in whole
MAX_HALF_OPEN = 256  # without a whole request; beyond, the oldest is closed


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


def serve(
    run: Run, listener: socket.socket, *, seed: int = 0, log: Log = print,
    host_names: Collection[str] | None = None,
) -> None:  # fmt: skip
    """Serve until interrupted; open requests are answered first.

    Args:
        host_names: that a request may ask, beside addresses; None: whichever.
    """
    import torch

    torch.set_num_threads(1)  # its matrices are small: more threads only cost hand-overs
    app = create_app(run, seed=seed, log=log, host_names=host_names)
    Server(config_of(app)).run(sockets=[listener])


def config_of(
    app: FastAPI, *, request_s: float = REQUEST_S, max_half_open: int = MAX_HALF_OPEN
) -> Config:
    """How uvicorn serves an application.

    Args:
        request_s: a connection whose request is not whole after it is closed.
        max_half_open: connections without a whole request; beyond, the oldest is closed.
    """
    waiting: dict[H11Protocol, asyncio.TimerHandle] = {}  # in the order that they began to

    def leave(connection: H11Protocol) -> None:
        timer = waiting.pop(connection, None)
        if timer is not None:
            timer.cancel()

    class Connection(H11Protocol):
        """One that is waited for no longer than its request takes to come in."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            leave(self)
            super().connection_lost(exc)

        def _watch(self) -> None:
            cycle = self.cycle
            whole = cycle is not None and not cycle.response_complete and not cycle.more_body
            if whole or self.transport.is_closing():
                leave(self)
            elif self not in waiting:
                waiting[self] = self.loop.call_later(request_s, self.transport.abort)
                if len(waiting) > max_half_open:
                    oldest = next(iter(waiting))
                    leave(oldest)  # it is lost later, and the next one must not count it again
                    oldest.transport.abort()

    return Config(
        app,
        http=Connection,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=5,
        server_header=False,
    )
