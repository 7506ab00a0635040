"""Worker: a guided decoder step in diffusers' StableCascadeUNet, eager PyTorch, the rule-filled weights of ours_step.py."""

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
    "3B": dict(
        block_out_channels=(320, 640, 1280, 1280), num_attention_heads=(-1, -1, 20, 20),
        down_num_layers_per_block=(2, 6, 28, 6), up_num_layers_per_block=(6, 28, 6, 2),
        up_blocks_repeat_mappers=(3, 3, 2, 2),
    ),
    "700M": dict(
        block_out_channels=(320, 576, 1152, 1152), num_attention_heads=(-1, 9, 18, 18),
        down_num_layers_per_block=(2, 4, 14, 4), up_num_layers_per_block=(4, 14, 4, 2),
        up_blocks_repeat_mappers=(2, 2, 2, 2),
    ),
}  # fmt: skip
RES_TIME, WITH_ATTENTION = ("SDCascadeResBlock", "SDCascadeTimestepBlock"), ("SDCascadeAttnBlock",)

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
with torch.device("meta"):
    network = StableCascadeUNet(
        in_channels=4, out_channels=4, patch_size=2, conditioning_dim=1280, down_blocks_repeat_mappers=(1, 1, 1, 1),
        block_types_per_layer=(RES_TIME, RES_TIME, RES_TIME + WITH_ATTENTION, RES_TIME + WITH_ATTENTION),
        clip_text_pooled_in_channels=1280, effnet_in_channels=16, pixel_mapper_in_channels=3,
        dropout=(0, 0, 0.1, 0.1), timestep_conditioning_type=("sca",), **SIZES[version],
    )  # fmt: skip
network.to_empty(device="cpu")
with torch.no_grad():
    for key, tensor in network.state_dict().items():
        tensor.copy_(release_tensor(key.replace("clip_txt_pooled_mapper.", "clip_mapper."), tuple(tensor.shape)))
network.eval()
inputs = load_file(inputs_path)
renamed = {
    "sample": inputs["x"], "timestep_ratio": inputs["r"], "clip_text_pooled": inputs["clip"],
    "effnet": inputs["effnet"], "pixels": torch.zeros(2, 3, 8, 8),
}  # fmt: skip


@torch.no_grad()
def step():
    return network(**renamed).sample


serve(step, lambda output: output.numpy(), name=f"diffusers {diffusers.__version__}, torch {torch.__version__} eager")
