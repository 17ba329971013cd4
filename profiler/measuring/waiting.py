"""When the sweep waits for a quiet or cool device, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiler.errors import DeviceUnavailableError
from profiler.flags import Flag
from profiler.measuring.canary import PreparedCanary

WORTH_SAYING_S = 1.0  # shorter pauses pass unnoticed


@dataclass(frozen=True, slots=True)
class QuiescenceGate:
    """Before a block the canary must be near its reference; otherwise the sweep waits.

    The gate delays and flags; it never filters samples.
    """

    tolerance: float
    split: float  # of the two canaries from each other, above which blocks are flagged
    wait_s: float
    max_wait_s: float  # over the whole sweep; then it goes on with flagged blocks
    refuse_above: float
    refuse_after_s: float


@dataclass
class GateKeeper:
    """Applies the gate over one sweep."""

    gate: QuiescenceGate
    sleep: Callable[[float], None]
    waited_s: float = 0.0

    def wait(self, canary: PreparedCanary, now_s: Callable[[], float]) -> None:
        """Wait while the machine is disturbed, within limits.

        Raises:
            DeviceUnavailableError: far off its reference for too long (not quiescent).
        """
        while canary.excess > self.gate.tolerance:
            if canary.excess > self.gate.refuse_above:
                if canary.off_since_s is None:
                    canary.off_since_s = now_s()
                if now_s() - canary.off_since_s > self.gate.refuse_after_s:
                    raise DeviceUnavailableError(
                        f"not quiescent: the reference op has been {100 * canary.excess:.0f} % "
                        "slower than at the start for too long; stop other work "
                        "(pnag devices names it) and go on with --resume"
                    )
            else:
                canary.off_since_s = None
            if self.waited_s >= self.gate.max_wait_s:
                return
            pause_s = min(self.gate.wait_s, self.gate.max_wait_s - self.waited_s)
            self.sleep(pause_s)
            self.waited_s += pause_s
            for _ in range(canary.rule.window):
                canary.sample_ms()
        canary.off_since_s = None


@dataclass(frozen=True, slots=True)
class Throttling:
    """After a block that the device reports as throttled the sweep lets it cool."""

    first_wait_s: float
    give_up_s: float  # of waiting since the last block that was not throttled


@dataclass
class CoolDown:
    """Applies the rule over one sweep.

    Each pause doubles what was waited: a short throttling costs little time, a long one few
    blocks.
    """

    rule: Throttling
    spec: str
    sleep: Callable[[float], None]
    say: Callable[[str], None] = lambda _: None
    waited_s: float = 0.0
    _without_success_s: float = 0.0

    def after(self, flags: Sequence[str]) -> None:
        """Wait if the flags of the last block say so.

        Raises:
            DeviceUnavailableError: it does not cool.
        """
        if not Flag.THROTTLED.among(flags):
            self._without_success_s = 0.0
            return
        so_far_s, give_up_s = self._without_success_s, self.rule.give_up_s
        reasons = ", ".join(Flag.THROTTLED.arguments(flags))
        if so_far_s >= give_up_s:
            raise DeviceUnavailableError(
                f"{self.spec} stayed throttled ({reasons}) for {so_far_s:.0f} s of waiting; "
                "let it cool, then go on with --resume"
            )
        pause_s = min(max(self.rule.first_wait_s, so_far_s), give_up_s - so_far_s)
        if pause_s >= WORTH_SAYING_S:
            self.say(f"{self.spec} is throttled ({reasons}): it cools for {pause_s:.0f} s")
        self.sleep(pause_s)
        self.waited_s += pause_s
        self._without_success_s += pause_s
