"""The released sizes by name, as the arguments that differ from the constructors' defaults."""

from ldm.networks.stage_b import StageB
from ldm.networks.stage_c import StageC

STAGE_C = {
    "3.6B": {},
    "1B": dict(c_cond=1536, c_hidden=(1536, 1536), nhead=(24, 24), blocks=((4, 12), (12, 4))),
}
STAGE_B = {
    "3B": {},  # 1.56 billion parameters; "3B" is the name users know it by
    "700M": dict(
        c_hidden=(320, 576, 1152, 1152),
        nhead=(-1, 9, 18, 18),
        blocks=((2, 4, 14, 4), (4, 14, 4, 2)),
        block_repeat=((1, 1, 1, 1), (2, 2, 2, 2)),
    ),
}
VARIANTS = {"stage_c": (StageC, STAGE_C), "stage_b": (StageB, STAGE_B)}


def variant_config(network: str, version: str) -> dict:
    """Constructor arguments of `version` of `network` ("stage_c" or "stage_b"); ValueError names the known versions."""
    _, table = VARIANTS[network]
    if version not in table:
        raise ValueError(f"Unknown {network} version {version!r}: choose one of {sorted(table)}.")
    return dict(table[version])
