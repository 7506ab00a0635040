"""The UNet's shape as data: one `Level` per resolution, checked before anything is built."""

from dataclasses import dataclass

BLOCK_LETTERS = {"C": "ResBlock", "T": "TimestepBlock", "A": "AttnBlock", "F": "FeedForwardBlock"}


@dataclass(frozen=True)
class Level:
    """One resolution of the UNet, its way down and its way up."""

    channels: int
    heads: int  # attention heads; unused (-1) where the layout has no A
    layout: str  # block letters of one unit, for instance "CTA": see BLOCK_LETTERS
    down_units: int  # units on the way down
    up_units: int  # units on the way up
    down_runs: int  # how often the way down is run, a 1x1 map between runs
    up_runs: int
    dropout: float
    self_attn: bool  # attention over the image's own pixels too, not only over the conditioning


def _per_level(name, value, count):
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} entries for {count} levels: give one per level, got {value!r}.")
    return values


def _down_and_up(name, value, count):
    if len(value) != 2:
        raise ValueError(f"{name} must be [down, up] (up listed from the deepest level), got {value!r}.")
    down, up = (_per_level(f"{name}[{i}]", list(part), count) for i, part in enumerate(value))
    return down, up[::-1]


def build_levels(c_hidden, nhead, blocks, block_repeat, level_config, dropout, self_attn) -> list[Level]:
    """The release's constructor arguments (shallowest level first, way up deepest first) -> one `Level` each.

    Raises ValueError naming the argument and its value for any configuration that cannot be built.
    """
    count = len(c_hidden)
    if count == 0:
        raise ValueError("c_hidden is empty: give the width of at least one level.")
    down_units, up_units = _down_and_up("blocks", blocks, count)
    down_runs, up_runs = _down_and_up("block_repeat", block_repeat or [[1] * count, [1] * count], count)
    columns = zip(
        c_hidden, _per_level("nhead", nhead, count), _per_level("level_config", level_config, count), down_units,
        up_units, down_runs, up_runs, _per_level("dropout", dropout, count), _per_level("self_attn", self_attn, count),
    )  # fmt: skip
    levels = [Level(*column) for column in columns]
    for index, level in enumerate(levels):
        _check(index, level)
    return levels


def _check(index: int, level: Level):
    where = f"level {index}"
    if level.channels < 1:
        raise ValueError(f"{where}: c_hidden must be positive, got {level.channels}.")
    unknown = sorted(set(level.layout) - set(BLOCK_LETTERS))
    if unknown or not level.layout:
        raise ValueError(
            f"{where}: level_config {level.layout!r} has unknown letters {unknown}; known: {BLOCK_LETTERS}."
        )
    if "A" in level.layout and (level.heads < 1 or level.channels % level.heads):
        raise ValueError(
            f"{where}: nhead {level.heads} does not divide c_hidden {level.channels}, and {level.layout!r} has attention."
        )
    if min(level.down_units, level.up_units, level.down_runs, level.up_runs) < 1:
        raise ValueError(f"{where}: blocks and block_repeat must be at least 1, got {level}.")
    if not 0 <= level.dropout < 1:
        raise ValueError(f"{where}: dropout must be in [0, 1), got {level.dropout}.")
