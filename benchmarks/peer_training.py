"""Worker: a training step of diffusers' prior in PyTorch: forward, backward, AdamW. See ours_training.py.

python benchmarks/peer_training.py VERSION INPUTS eager|compiled [CACHE]

In half precision by torch.autocast, which is what O1 is.
"""

import sys

import torch
from cases import WATCHED
from peer_networks import TORCH_DEVICE, TORCH_DTYPE, arguments, on_device, start_torch, unet
from safetensors.torch import load_file
from worker import serve

version, inputs_path, way, *_ = sys.argv[1:]
side = start_torch()
inputs = on_device(load_file(inputs_path), torch.float32)
network, target = unet("stage_c", version, torch.float32), inputs["target"]
given = arguments("stage_c", inputs)
predict = torch.compile(network) if way == "compiled" else network
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.01)
parameters = dict(network.named_parameters())
mixed = TORCH_DTYPE != torch.float32
scaler = torch.amp.GradScaler(TORCH_DEVICE, init_scale=1024.0, enabled=TORCH_DTYPE == torch.float16)


def step():
    with torch.autocast(TORCH_DEVICE, TORCH_DTYPE if mixed else None, enabled=mixed):
        prediction = predict(**given).sample
    loss = torch.nn.functional.mse_loss(prediction.float(), target)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    watched = {"loss": loss.detach().clone(), **{key: parameters[key].grad.clone() for key in WATCHED}}
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return watched


serve(step, lambda watched: {key: value.cpu().numpy() for key, value in watched.items()}, side, way)
