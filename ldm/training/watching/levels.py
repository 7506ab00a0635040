"""The unweighted loss apart by noise level: which of them a run learns, which a weight neglects."""

import paddle

from ldm.common.precision import float32_region
from ldm.diffusion.schedule import CosineSchedule

LEVELS = 10  # of equal width in time: without --noise_shift each sees as many samples


def level_names(levels: int = LEVELS) -> list[str]:
    """`loss_t00_10` is the loss of samples noised to times 0.00 to 0.10, the least noise; t = 1 is noise alone."""
    percent = [100 * index // levels for index in range(levels + 1)]
    return [f"loss_t{low:02d}_{high:02d}" for low, high in zip(percent, percent[1:])]


class LevelLosses:
    """Sums up losses on the device, without waiting for it; the means are read where something is logged."""

    def __init__(self):
        edges = paddle.arange(1, LEVELS, dtype="float32") / LEVELS
        self.edges = CosineSchedule().log_snr(edges)  # (LEVELS - 1,), falling
        self.sums = None  # (2, LEVELS): of the losses, and how many they are

    @paddle.no_grad()
    def collect(self, objective):
        """Add an Objective's samples; None, of a model without noise levels, adds nothing. A bad number is left out."""
        if objective is None:
            return
        with float32_region():  # this is called under autocast
            losses, log_snr = (x.astype("float32") for x in (objective.per_sample, objective.log_snr))
            level = (log_snr.unsqueeze(1) <= self.edges).sum(axis=1)  # (B,)
            finite = paddle.isfinite(losses)
            rows = paddle.stack([paddle.where(finite, losses, paddle.zeros_like(losses)), finite.astype("float32")])
            sums = paddle.matmul(rows, paddle.nn.functional.one_hot(level, LEVELS))
            self.sums = sums if self.sums is None else self.sums + sums

    def take(self) -> dict:
        """{name: mean loss} of the levels seen since the last call, over all ranks, which call it together."""
        sums, self.sums = self.sums, None
        if sums is None:
            return {}
        if paddle.distributed.get_world_size() > 1:
            paddle.distributed.all_reduce(sums)
        totals, counts = sums.numpy()
        found = zip(level_names(), totals, counts)
        return {name: round(float(total / count), 6) for name, total, count in found if count}
