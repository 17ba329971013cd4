"""The canaries of one sweep: loaded and warmed up, and how fast the machine is by them."""

from __future__ import annotations

import numpy as np

from profiler.devices.base import Device
from profiler.flags import Flag
from profiler.measuring.canary import Canary, PreparedCanary, prepare_canary
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import MeasuringProtocol
from profiler.measuring.sampling import Sampler


class Canaries:
    """Both canaries on a device, once they are warmed up.

    Attributes:
        are_used: whether the device has a use for them in this sweep.
        steady: their warm-up ended by its rule, not by its limit of time.
    """

    def __init__(
        self,
        device: Device,
        protocol: MeasuringProtocol,
        sampler: Sampler,
        journal: Journal,
        number: int,
    ) -> None:
        self._device, self._protocol, self._sampler = device, protocol, sampler
        self._journal, self._number = journal, number
        # beside a sustained load a canary would be another load, and its warm-up a first minute
        self.are_used = device.uses_canary and protocol.sustained is None
        self.warm_up_s, self.steady = 0.0, True
        self._prepared: dict[Canary, PreparedCanary] = {}
        self._counted_ms: dict[Canary, list[float]] = {canary: [] for canary in Canary}
        self._levels_ms: dict[tuple[int, Canary], float] = {}  # of sweeps that have ended

    def warm_up(self) -> None:
        """Load both and run them until windows of their samples agree, which is their reference.

        Raises:
            MeasurementError: one failed for good.
        """
        rule, now = self._protocol.warm_up, self._device.now
        for kind in Canary:
            self._prepared[kind] = prepare_canary(
                self._device, kind, self._protocol.canaries, self._sampler
            )
        start_s = now()
        for canary in self._prepared.values():
            samples = [canary.sample_ms() for _ in range(rule.window * rule.windows)]
            while not rule.ended(samples, now() - start_s):
                if now() - start_s > rule.max_s:
                    self.steady = False
                    break
                samples.append(canary.sample_ms())
            recent = samples[-rule.window * rule.windows :]
            canary.reference_ms = canary.level_ms(recent)
        self.warm_up_s = now() - start_s

    def get(self, kind: Canary) -> PreparedCanary | None:
        return self._prepared.get(kind)

    def flags(self) -> list[Flag]:
        """What they say of the machine just now."""
        gate = self._protocol.gate
        excess = [canary.excess for canary in self._prepared.values()]
        flags = []
        if excess and max(excess) > gate.tolerance:
            flags.append(Flag.DISTURBED)
        if excess and max(excess) - min(excess) > gate.split:
            flags.append(Flag.CANARY_SPLIT)
        return flags

    def count(self, kind: Canary, sample_ms: float) -> None:
        """A sample beside a block that is in the journal."""
        self._counted_ms[kind].append(sample_ms)

    def level_ms(self, sweep: int, kind: Canary) -> float:
        """Of a canary in this sweep so far, or in one that has ended."""
        estimator = self._protocol.estimator
        if sweep == self._number:
            return estimator(np.array(self._counted_ms[kind]))
        if (sweep, kind) not in self._levels_ms:
            self._levels_ms[sweep, kind] = estimator(self._journal.canary_series(sweep, kind)[1])
        return self._levels_ms[sweep, kind]

    def close(self) -> None:
        for canary in self._prepared.values():
            canary.close()
        self._prepared.clear()
