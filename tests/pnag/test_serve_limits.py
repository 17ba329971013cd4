"""How many connections without a whole request there may be, without a network."""

import asyncio
from typing import Any

from fastapi import FastAPI
from uvicorn.server import ServerState

from pnag.serve.server import config_of


class Peer(asyncio.Transport):
    """Of a connection that sends nothing; its end is told later, as by asyncio's own."""

    def __init__(self, number, aborted):
        super().__init__()
        self.number, self.aborted = number, aborted

    def abort(self):
        self.aborted.append(self.number)

    def is_closing(self):
        return self.number in self.aborted


def test_a_burst_of_half_open_connections_is_held_to_the_limit():
    """Within one turn of the loop: the ends of those that are closed come in the next."""

    async def aborted_of(n_connections):
        config, aborted = config_of(FastAPI(), max_half_open=2), list[int]()
        config.load()
        protocol: Any = config.http_protocol_class
        for number in range(n_connections):
            connection = protocol(
                config=config, server_state=ServerState(), app_state={},
                _loop=asyncio.get_running_loop(),
            )  # fmt: skip
            connection.connection_made(Peer(number, aborted))
        return aborted

    assert asyncio.run(aborted_of(2)) == []
    assert asyncio.run(aborted_of(10)) == [0, 1, 2, 3, 4, 5, 6, 7]
