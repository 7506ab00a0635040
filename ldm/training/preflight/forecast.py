"""How much memory a training takes, from the network's constructor arguments: a sum of terms that can be read.

peak = weights + frozen networks + gradients + optimiser states + average
       + the largest of: activations, workspace and heap of the backward pass; the update of one parameter; the copies
         that a checkpoint is written from
"""

from dataclasses import dataclass

from ldm.common.memory import gib, host_available
from ldm.networks.levels import Level
from ldm.training.preflight import blocks
from ldm.training.preflight.blocks import FLOAT32, Shape

OPTIMIZER_BYTES = {"adamw": 8, "adamw_mini": 4}  # per trained parameter, float32: both moments, or the first alone
UPDATE_COPIES = {"adamw": 0, "adamw_mini": 5}  # of one parameter while the optimiser moves it: Paddle's kernel, Python
AVERAGE_COPIES = 2  # of one parameter while the average takes it in
SAVED_COPIES = 2  # of what is written at once: as arrays, and as the pickle remembers them
# Holes in a CPU's heap, measured: tensors of many sizes come and go, and what is freed does not always fit what comes
HEAP_OF_GRADIENTS, HEAP_OF_ACTIVATIONS = 0.6, 0.24
LASTING = ("weights", "frozen", "gradients", "optimizer", "average")
PIXEL = 3 * FLOAT32


def check_batch_memory(resolution, batch_size: int):
    """ValueError if the images of one batch, resolution^2 pixels each, take more than is free: reading them would never end.

    Asked before the first of them is read. resolution 0: not known yet.
    """
    needed, free = batch_size * (resolution or 0) ** 2 * PIXEL, host_available()
    if needed > free:
        raise ValueError(
            f"--per_device_train_batch_size {batch_size}: the images of one batch take {gib(needed)} GiB at --resolution "
            f"{resolution}, and {gib(free)} GiB of memory are free. Use a smaller one with more "
            "--gradient_accumulation_steps, or a smaller --resolution."
        )


@dataclass(frozen=True)
class Forecast:
    """Bytes by what they are for. `heap` is what lies unused between tensors on a CPU in a step, `updating` is what
    moving one parameter holds, `saving` what writing a checkpoint does: both when the activations are gone."""

    weights: int = 0
    frozen: int = 0
    gradients: int = 0
    optimizer: int = 0
    average: int = 0
    activations: int = 0
    workspace: int = 0
    heap: int = 0
    updating: int = 0
    saving: int = 0

    @property
    def lasting(self) -> int:
        """What stays from step to step."""
        return sum(getattr(self, name) for name in LASTING)

    @property
    def tensors(self) -> int:
        """The most that all tensors have at one time."""
        return self.lasting + max(self.activations + self.workspace, self.updating)

    @property
    def peak(self) -> int:
        """The most at one time: in the backward pass, in the optimiser's step, or while a checkpoint is written."""
        return self.lasting + max(self.activations + self.workspace + self.heap, self.updating, self.saving)

    def described(self) -> str:
        """The sum in GiB, for people."""
        steps = {
            "activations": self.activations + self.workspace + self.heap,
            "one parameter's update": self.updating,
            "copies for the checkpoint": self.saving,
        }
        largest = max(steps, key=steps.get)
        parts = [(name, getattr(self, name)) for name in LASTING] + [(largest, steps[largest])]
        return f"{gib(self.peak)} GiB = " + " + ".join(f"{name} {gib(value)}" for name, value in parts if value)


def parameter_terms(
    weights: int, trained: int, largest: int, optimizer: str, average: int = 0, number: int = FLOAT32, masters=False
) -> dict:
    """The terms that the number of parameters decides.

    weights: bytes of the model's own; trained: parameters that are trained, `largest` the biggest tensor of them;
    average: numbers that --ema_decay averages; number: bytes of a gradient's number; masters: whether the optimiser keeps
    float32 weights beside 16-bit ones. Gradients stay from step to step: the Trainer sets them to zero, it does not
    free them. A checkpoint is written from copies, of the trained weights and then of the optimiser's states.
    """
    states = trained * (OPTIMIZER_BYTES[optimizer] + (FLOAT32 if masters else 0))
    return {
        "weights": weights,
        "gradients": trained * number,
        "optimizer": states,
        "average": average * FLOAT32,
        "updating": (UPDATE_COPIES[optimizer] + (AVERAGE_COPIES if average else 0)) * largest * FLOAT32,
        "saving": SAVED_COPIES * max(trained * number, states),
    }


def heap_holes(gradients: int, activations: int) -> int:
    """Bytes of a CPU's heap that lie unused between tensors in the backward pass."""
    return int(HEAP_OF_GRADIENTS * gradients + HEAP_OF_ACTIVATIONS * activations)


def unet_activations(
    levels: list[Level], c_in: int, shape: Shape, grid: tuple, recompute: bool = False, scales=None, trained=None
) -> tuple[int, int]:
    """(bytes kept for the backward pass of a UNet, bytes its backward pass works in).

    grid: rows and columns at the stem; scales: side of each level relative to the stem's, 1 if None. recompute keeps
    every block's input and, one at a time, what a block keeps. trained(name) says whether a block has something that is
    trained, `name` as in the state dict: before the first such block nothing is kept.
    """
    scales = scales or [1.0] * len(levels)
    kept, largest, workspace, started = 0, 0, 0, trained is None
    for part in _walk(levels):
        level, scale = levels[part.level], scales[part.level]
        seen = _at(shape, grid, scale)
        started = started or trained(part.name)
        if not started:
            continue
        own = _block(part.letter, seen, level, part.c_skip) if part.letter else seen.rows * level.channels * part.width
        work = blocks.backward_workspace(seen, level.channels, level.heads, part.letter, level.self_attn, level.dropout)
        if recompute and part.letter:
            kept += seen.rows * level.channels * shape.number
            largest, workspace = max(largest, own + work), 0
        else:
            kept += own
            workspace = max(workspace, work) if not recompute else workspace
    top = _at(shape, grid, 1.0)
    kept += top.rows * (c_in * shape.number) + 2 * blocks.norm(top, top.rows, levels[0].channels)
    kept += top.rows * levels[0].channels * shape.number  # what goes into the last product
    kept += 2 * blocks.norm(top, shape.batch * shape.tokens, shape.c_cond)
    return kept + largest, workspace


@dataclass(frozen=True)
class _Part:
    """A block of a level, once per run; letter "" for what joins levels, `width` bytes of which are kept per number."""

    name: str
    level: int
    letter: str
    c_skip: int = 0
    width: int = 0


def _walk(levels: list[Level]):
    """Every part in the order of the forward pass, those that run several times as often."""
    deepest = len(levels) - 1
    for index, level in enumerate(levels):
        if index:
            yield _Part(f"down_downscalers.{index}", index - 1, "", width=2 * FLOAT32)
        yield from _level(f"down_blocks.{index}", index, level, level.down_units, level.down_runs, 0)
    for index in reversed(range(len(levels))):
        level, place = levels[index], deepest - index
        skip = level.channels if index < deepest else 0
        yield from _level(f"up_blocks.{place}", index, level, level.up_units, level.up_runs, skip)
        if index:
            yield _Part(f"up_upscalers.{place}", index, "", width=2 * FLOAT32)


def _level(prefix: str, index: int, level: Level, units: int, runs: int, c_skip: int):
    for run in range(runs):
        if run:
            yield _Part(f"{prefix}.repeat", index, "", width=FLOAT32)
        for position, letter in enumerate(level.layout * units):
            takes_skip = c_skip if position == 0 and letter == "C" else 0
            yield _Part(f"{prefix}.{position}", index, letter, takes_skip)


def _at(shape: Shape, grid: tuple, scale: float) -> Shape:
    pixels = int(grid[0] * scale) * int(grid[1] * scale)
    return Shape(shape.batch, pixels, shape.tokens, shape.c_cond, shape.number, shape.on_cpu)


def _block(letter: str, shape: Shape, level: Level, c_skip: int) -> int:
    c = level.channels
    if letter == "C":
        return blocks.res_block(shape, c, c_skip, level.dropout)
    if letter == "F":
        return blocks.feed_forward_block(shape, c, level.dropout)
    if letter == "T":
        return blocks.timestep_block(shape, c)
    return blocks.attn_block(shape, c, level.heads, level.self_attn, level.dropout)
