"""Which whole networks are measured beside the ops: spread over the range of the space."""

from __future__ import annotations

import numpy as np

from profiler.spaces.mobilenetv3 import (
    DEPTHS,
    EXPANDS,
    KERNELS,
    N_SLOTS,
    N_STAGES,
    Architecture,
    MobileNetV3Space,
)

POOL_PER_NETWORK = 40
MAX_TILT = 2.5


def draw_networks(space: MobileNetV3Space, count: int, *, seed: int) -> list[Architecture]:
    """`count` distinct architectures: both extremes, then half spread over MAdds, half uniform.

    A calibration fitted on uniform samples alone would extrapolate to cheap and to costly
    networks, since uniform samples crowd in the middle (the sum of many choices).
    """
    rng = np.random.default_rng(seed)
    chosen = dict.fromkeys(space.extremes()[:count])
    n_spread = (count - len(chosen)) // 2
    pool = sorted(
        (_tilted(space, rng) for _ in range(POOL_PER_NETWORK * max(1, n_spread))), key=space.madds
    )
    madds = np.array([space.madds(arch) for arch in pool])
    for target in np.linspace(madds[0], madds[-1], n_spread + 2)[1:-1]:
        chosen[pool[int(np.argmin(np.abs(madds - target)))]] = None
    while len(chosen) < count:
        chosen[space.decode(space.sample(1, rng)[0])] = None
    return list(chosen)


def _tilted(space: MobileNetV3Space, rng: np.random.Generator) -> Architecture:
    """A random architecture that leans to small or to large choices by a random amount."""
    weights = np.exp(rng.uniform(-MAX_TILT, MAX_TILT) * np.arange(3))
    share = weights / weights.sum()
    depths = tuple(int(v) for v in rng.choice(DEPTHS, N_STAGES, p=share))
    kernels = tuple(int(v) for v in rng.choice(KERNELS, N_SLOTS, p=share))
    expands = tuple(int(v) for v in rng.choice(EXPANDS, N_SLOTS, p=share))
    n = sum(depths)
    return Architecture(depths, kernels[:n], expands[:n], space.resolution_px, space.width_mult)
