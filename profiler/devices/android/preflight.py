"""Whether a phone can be measured: all that is missing at once, before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from profiler.devices.android.benchmark_binary import BenchmarkBinary, foreign, load_binary
from profiler.devices.android.facts import PhoneIdentity, read_identity, read_state
from profiler.devices.android.link import AdbLink
from profiler.devices.android.options import AndroidTiming
from profiler.devices.android.syntax import TEMPORARY, AdbTarget
from profiler.errors import DeviceUnavailableError, InvalidInputError, PnagError

FREE_MIB = 1024  # a sweep keeps all of its models on the phone
TOOLS = ("setsid", "sha256sum")  # without taskset it is measured, on whatever cores it runs


def prepared(
    target: AdbTarget, program: Path | None, timing: AndroidTiming
) -> tuple[AdbLink, PhoneIdentity, BenchmarkBinary]:
    """The link to a phone that has all that measuring needs, and the program for it.

    Raises:
        InvalidInputError: of what is missing, something is the user's input.
        DeviceUnavailableError: the phone lacks something; a LinkError where it cannot be reached.
    """
    problems: list[PnagError] = []
    binary = None
    try:
        binary = load_binary(program)
    except InvalidInputError as error:
        problems.append(error)
    # a phone that is away is waited for where nothing else is missing
    reconnect_s, backoff_s = (timing.reconnect_s, timing.backoff_s) if binary else (0, 0)
    try:
        link = AdbLink(target, reconnect_s=reconnect_s, backoff_s=backoff_s)
        phone = read_identity(link)
        problems += [*lacking(link, phone), *(foreign(binary, phone.abis) if binary else ())]
        if binary is not None and not problems:
            return link, phone, binary
        # what would only be waited for is said in the same breath
        blockers = read_state(link, phone.big_cores(1)).blockers()
        problems += [DeviceUnavailableError(blocker) for blocker in blockers]
    except PnagError as error:
        problems.append(error)
    raise together(problems)


def lacking(link: AdbLink, phone: PhoneIdentity) -> list[PnagError]:
    """What the phone itself has to have, and has not."""
    found: list[PnagError] = []
    missing = [tool for tool in TOOLS if tool not in phone.tools]
    if missing:
        found.append(
            DeviceUnavailableError(
                f"{link.serial} has no command {' and none '.join(missing)}; Android 8 or newer "
                "is needed"
            )
        )
    free_mib = link.free_kib() / 1024
    if free_mib < FREE_MIB:
        found.append(
            DeviceUnavailableError(
                f"{link.serial} has less than 1 GiB free in {TEMPORARY} ({free_mib:.0f} MiB); "
                "free some"
            )
        )
    return found


def together(problems: Sequence[PnagError]) -> PnagError:
    """One error that names all; what is wrong with the input tells its kind."""
    if len(problems) == 1:
        return problems[0]
    of_input = any(isinstance(problem, InvalidInputError) for problem in problems)
    kind = InvalidInputError if of_input else DeviceUnavailableError
    listed = "; ".join(f"({n}) {problem}" for n, problem in enumerate(problems, 1))
    return kind(f"{len(problems)} things are missing: {listed}")
