"""Operations of a case (a product and a sum are two), counted by PyTorch on diffusers' network without computing it.

python benchmarks/flops.py CASE VERSION BATCH GRID     (in the environment of requirements-peer.txt)
"""

import sys

import numpy as np
import torch
from cases import CASES
from peer_networks import CONFIGS, NAMES, StableCascadeUNet
from torch.utils.flop_counter import FlopCounterMode

KINDS = {"prior": "stage_c", "decoder": "stage_b"}


def count(case: str, version: str, batch: int, grid: int) -> int:
    kind = KINDS[case]
    inputs = CASES[case].inputs(np.random.default_rng(0), batch, grid)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = StableCascadeUNet(**CONFIGS[kind, version]).eval()
        given = {theirs: torch.empty(inputs[ours].shape) for ours, theirs in NAMES[kind].items()}
        if kind == "stage_b":
            given["pixels"] = torch.empty(2 * batch, 3, 8, 8)
        network(**given)
    return counter.get_total_flops()


if __name__ == "__main__":
    case, version, batch, grid = sys.argv[1:]
    print(count(case, version, int(batch), int(grid)), file=sys.__stdout__)  # see worker.py
