"""Worker: a training step of diffusers' prior in PyTorch: forward, backward, AdamW. See ours_training.py.

python benchmarks/peer_training.py VERSION INPUTS eager|compiled [CACHE]
"""

import sys

import torch
from cases import WATCHED
from peer_networks import arguments, start_torch, unet
from safetensors.torch import load_file
from worker import serve

version, inputs_path, way, *_ = sys.argv[1:]
name = start_torch()
inputs = load_file(inputs_path)
network, target, given = unet("stage_c", version), inputs["target"], arguments("stage_c", inputs)
predict = torch.compile(network) if way == "compiled" else network
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.01)
parameters = dict(network.named_parameters())


def step():
    loss = torch.nn.functional.mse_loss(predict(**given).sample, target)
    loss.backward()
    watched = {"loss": loss.detach().clone(), **{key: parameters[key].grad.clone() for key in WATCHED}}
    optimizer.step()
    optimizer.zero_grad()
    return watched


serve(step, lambda watched: {key: value.numpy() for key, value in watched.items()}, f"{name} {way}")
