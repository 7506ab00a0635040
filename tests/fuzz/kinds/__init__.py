"""Every kind of input: one table."""

from fuzz.kinds import caches, checkpoints, datasets, flags, release

KINDS = {kind.name: kind for module in (release, datasets, checkpoints, caches, flags) for kind in module.KINDS}
