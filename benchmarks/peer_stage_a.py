"""Worker: the decoder of diffusers' PaellaVQModel in PyTorch, the rule-filled weights of ours_stage_a.py.

python benchmarks/peer_stage_a.py INPUTS eager|compiled [CACHE]
"""

import sys

import torch
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from peer_networks import TORCH_DEVICE, TORCH_DTYPE, on_device, start_torch
from safetensors.torch import load_file
from worker import serve

from ldm.weights.synthetic import rule_tensor

SCALE = 0.43  # of the release's latents, which diffusers multiplies with in its pipeline

inputs_path, way, *_ = sys.argv[1:]
side = start_torch()
network = PaellaVQModel().eval()
with torch.no_grad():
    for key, tensor in network.state_dict().items():
        tensor.copy_(torch.from_numpy(rule_tensor(key, tuple(tensor.shape))))
network.to(TORCH_DEVICE, TORCH_DTYPE)
latent = on_device(load_file(inputs_path))["latent"] * SCALE
decoded = torch.compile(network.decode) if way == "compiled" else network.decode


@torch.no_grad()
def decode():
    return decoded(latent).sample


serve(decode, lambda image: image.float().cpu().numpy(), side, way)
