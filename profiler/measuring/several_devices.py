"""Several devices in one command: what does not disturb each other is measured at once.

Each device has a process of its own, so that Ctrl-C reaches every one of them, and each then
leaves its device as it was found.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from profiler.errors import PnagError
from profiler.measuring.campaign import ProfileRequest, profile_device
from profiler.terminal import Terminal


def profile_devices(requests: Sequence[ProfileRequest], terminal: Terminal) -> list[Path]:
    """Tables of all requests, in their order.

    Phones and devices of a fleet run at once. Devices of this computer share its cores, so that
    they take their turns, after the others.

    Raises:
        PnagError: the first failure, after the other devices have finished.
    """
    elsewhere = [r for r in requests if r.fleet is not None or r.spec.startswith("adb")]
    if len(elsewhere) < 2:
        return [profile_device(request, terminal) for request in requests]
    lines = Terminal(terminal.json_output, terminal.quiet, live=False)
    paths: dict[int, Path] = {}
    failures: list[PnagError] = []
    with ProcessPoolExecutor(
        len(elsewhere), mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        running = {id(r): pool.submit(profile_device, r, lines) for r in elsewhere}
        for request in sorted(requests, key=lambda r: id(r) not in running):
            try:
                if id(request) in running:
                    paths[id(request)] = running[id(request)].result()
                else:
                    paths[id(request)] = profile_device(request, terminal)
            except PnagError as error:
                terminal.note(f"{request.spec}: {error}")
                failures.append(error)
    if failures:
        raise failures[0]
    return [paths[id(request)] for request in requests]
