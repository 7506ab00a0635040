"""The unweighted loss by noise level: which of them a run learns, which a weight neglects."""

import paddle

from ldm.common.precision import float32_region
from ldm.diffusion.schedule import CosineSchedule

BINS = 10  # of noise levels, equally wide in time: without --noise_shift each gets as many samples


def loss_names(bins: int = BINS) -> list[str]:
    """`loss_t00_10` is the loss of samples noised to times 0.00 to 0.10, the least noise; t = 1 is noise alone."""
    percent = [100 * index // bins for index in range(bins + 1)]
    return [f"loss_t{low:02d}_{high:02d}" for low, high in zip(percent, percent[1:])]


class NoiseLevelLosses:
    """Sums up losses on the device, without waiting for it; the means are read where something is logged."""

    def __init__(self):
        edges = paddle.arange(1, BINS, dtype="float32") / BINS
        self.edges = CosineSchedule().log_snr(edges)  # (BINS - 1,), falling
        self.sums = None  # (2, BINS): of the losses, and how many they are

    @paddle.no_grad()
    def collect(self, objective):
        """Add an Objective's samples, non-finite losses left out; None, of a model without noise levels, adds nothing."""
        if objective is None:
            return
        with float32_region():  # this is called under autocast
            losses, log_snr = (x.astype("float32") for x in (objective.per_sample, objective.log_snr))
            bin_of = (log_snr.unsqueeze(1) <= self.edges).sum(axis=1)  # (B,)
            finite = paddle.isfinite(losses)
            rows = paddle.stack([paddle.where(finite, losses, paddle.zeros_like(losses)), finite.astype("float32")])
            sums = paddle.matmul(rows, paddle.nn.functional.one_hot(bin_of, BINS))
            self.sums = sums if self.sums is None else self.sums + sums

    def take(self) -> dict:
        """{name: mean loss} of the bins that got samples since the last call, over all ranks, which call it together."""
        sums, self.sums = self.sums, None
        if sums is None:
            return {}
        if paddle.distributed.get_world_size() > 1:
            paddle.distributed.all_reduce(sums)
        totals, counts = sums.numpy()
        found = zip(loss_names(), totals, counts)
        return {name: round(float(total / count), 6) for name, total, count in found if count}
