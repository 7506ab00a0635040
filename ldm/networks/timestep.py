"""Sinusoidal embedding of a noise level in [0, 1] (release: `gen_r_embedding`), always float32."""

import math
from functools import lru_cache

import numpy as np
import paddle

from ldm.common.precision import float32_region

MAX_POSITIONS = 10000


@lru_cache
def frequencies(width: int) -> np.ndarray:
    """(width // 2,) float32. The exponential is rounded once, from float64: phases reach 10000 radians, where one
    unit in the last place of a frequency is already an error of 1e-3."""
    half = width // 2
    exponent = np.arange(half, dtype=np.float32) * np.float32(-math.log(MAX_POSITIONS) / (half - 1))
    return np.exp(exponent.astype(np.float64)).astype(np.float32)


def timestep_embedding(r, width: int):
    """r (B,) -> (B, width): [sin, cos] of r * 10000 * exp(-i * ln(10000) / (width / 2 - 1)), zero-padded if odd.

    r must be float32: at 10000 radians bfloat16 is wrong by whole periods.
    """
    with float32_region():
        phase = (r.astype("float32") * MAX_POSITIONS).unsqueeze(1) * paddle.to_tensor(frequencies(width)).unsqueeze(0)
        parts = [phase.sin(), phase.cos()]  # (B, width // 2) each
        if width % 2:
            parts.append(paddle.zeros([r.shape[0], 1]))
        return paddle.concat(parts, axis=1)
