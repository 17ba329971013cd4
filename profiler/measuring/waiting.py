"""When the sweep waits for a quiet machine, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from profiler.errors import DeviceUnavailableError
from profiler.measuring.canary import PreparedCanary


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
