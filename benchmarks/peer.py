"""Worker: the same guided prior step in diffusers' StableCascadeUNet, eager PyTorch, the same rule-filled weights."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
version, inputs_path = sys.argv[1:]

import diffusers  # noqa: E402
import torch  # noqa: E402
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet  # noqa: E402
from peer_weights import release_tensor  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from worker import serve  # noqa: E402

SIZES = {
    "3.6B": {},
    "1B": dict(
        conditioning_dim=1536, block_out_channels=(1536, 1536), num_attention_heads=(24, 24),
        down_num_layers_per_block=(4, 12), up_num_layers_per_block=(12, 4),
    ),
}  # fmt: skip

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
with torch.device("meta"):
    network = StableCascadeUNet(
        clip_text_in_channels=1280, clip_image_in_channels=768, switch_level=(False,), **SIZES[version]
    )
network.to_empty(device="cpu")
with torch.no_grad():
    for key, tensor in network.state_dict().items():
        tensor.copy_(release_tensor(key, tuple(tensor.shape)))
network.eval()
inputs = load_file(inputs_path)
renamed = {
    "sample": inputs["x"], "timestep_ratio": inputs["r"], "clip_text": inputs["clip_text"],
    "clip_text_pooled": inputs["clip_text_pooled"], "clip_img": inputs["clip_img"],
}  # fmt: skip


@torch.no_grad()
def step():
    return network(**renamed).sample


serve(step, lambda output: output.numpy(), name=f"diffusers {diffusers.__version__}, torch {torch.__version__} eager")
