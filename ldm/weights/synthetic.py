"""Weights that are a function of key, shape and salt, to fill networks without shipping their weights.

The same rule that the recorded reference vectors use (tests/reference/README.md).
"""

import math
import zlib

import numpy as np


def rule_tensor(key: str, shape, salt: str = "") -> np.ndarray:
    """The float32 tensor (release layout; int64 0 for batch counters) that the rule gives `key` at `shape`."""
    shape = tuple(int(side) for side in shape)
    rng = np.random.default_rng(zlib.crc32((salt + key).encode()))
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    normal = rng.standard_normal(shape, dtype=np.float32)
    if leaf == "running_var":
        return 1 + 0.1 * np.abs(normal)
    if leaf in ("running_mean", "gamma", "beta"):
        return 0.1 * normal
    if leaf == "gammas":
        return 0.3 * normal
    if len(shape) <= 1:
        return 1 + 0.1 * normal if leaf == "weight" else 0.02 * normal
    return normal / np.float32(math.sqrt(math.prod(shape[1:])))
