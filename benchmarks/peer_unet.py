"""Worker: a guided step of diffusers' prior or decoder in PyTorch, the rule-filled weights of ours_step.py.

python benchmarks/peer_unet.py stage_c|stage_b VERSION INPUTS eager|compiled [CACHE]
"""

import sys

import torch
from peer_networks import arguments, on_device, start_torch, unet
from safetensors.torch import load_file
from worker import serve

kind, version, inputs_path, way, *_ = sys.argv[1:]
side = start_torch()
network, inputs = unet(kind, version), arguments(kind, on_device(load_file(inputs_path)))
predict = torch.compile(network) if way == "compiled" else network


@torch.no_grad()
def step():
    return predict(**inputs).sample


serve(step, lambda output: output.float().cpu().numpy(), side, way)
