"""Whether the images of one batch fit into memory, asked before the first is read: with too many, reading them never ends."""

from ldm.common.memory import host_available
from ldm.training.preflight.forecast import gib

BYTES = 3 * 4  # of a pixel


def check_batch_memory(resolution, batch_size: int):
    """ValueError if `batch_size` images of resolution^2 float32 pixels take more than is free. resolution 0: not known yet."""
    needed, free = batch_size * (resolution or 0) ** 2 * BYTES, host_available()
    if needed > free:
        raise ValueError(
            f"--per_device_train_batch_size {batch_size}: the images of one batch take {gib(needed)} GiB at --resolution "
            f"{resolution}, and {gib(free)} GiB of memory are free. Use a smaller one with more "
            "--gradient_accumulation_steps, or a smaller --resolution."
        )
