"""diffusers' networks of released sizes, filled with the rule's weights."""

import os

import diffusers
import torch
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from worker import DEVICE, DTYPE, Side

from ldm.weights.synthetic import rule_tensor

RES_TIME, WITH_ATTENTION = ("SDCascadeResBlock", "SDCascadeTimestepBlock"), ("SDCascadeAttnBlock",)
PRIOR = dict(clip_text_in_channels=1280, clip_image_in_channels=768, switch_level=(False,))
DECODER = dict(
    in_channels=4, out_channels=4, patch_size=2, conditioning_dim=1280, down_blocks_repeat_mappers=(1, 1, 1, 1),
    block_types_per_layer=(RES_TIME, RES_TIME, RES_TIME + WITH_ATTENTION, RES_TIME + WITH_ATTENTION),
    clip_text_pooled_in_channels=1280, effnet_in_channels=16, pixel_mapper_in_channels=3,
    dropout=(0, 0, 0.1, 0.1), timestep_conditioning_type=("sca",),
)  # fmt: skip
CONFIGS = {
    ("stage_c", "3.6B"): PRIOR,
    ("stage_c", "1B"): PRIOR | dict(
        conditioning_dim=1536, block_out_channels=(1536, 1536), num_attention_heads=(24, 24),
        down_num_layers_per_block=(4, 12), up_num_layers_per_block=(12, 4),
    ),
    ("stage_c", "100M"): PRIOR | dict(
        conditioning_dim=704, block_out_channels=(704, 704), num_attention_heads=(11, 11),
        down_num_layers_per_block=(2, 6), up_num_layers_per_block=(6, 2),
    ),
    ("stage_b", "3B"): DECODER | dict(
        block_out_channels=(320, 640, 1280, 1280), num_attention_heads=(-1, -1, 20, 20),
        down_num_layers_per_block=(2, 6, 28, 6), up_num_layers_per_block=(6, 28, 6, 2),
        up_blocks_repeat_mappers=(3, 3, 2, 2),
    ),
    ("stage_b", "700M"): DECODER | dict(
        block_out_channels=(320, 576, 1152, 1152), num_attention_heads=(-1, 9, 18, 18),
        down_num_layers_per_block=(2, 4, 14, 4), up_num_layers_per_block=(4, 14, 4, 2),
        up_blocks_repeat_mappers=(2, 2, 2, 2),
    ),
}  # fmt: skip
NAMES = {  # ours -> diffusers'
    "stage_c": {
        "x": "sample", "r": "timestep_ratio", "clip_text": "clip_text", "clip_text_pooled": "clip_text_pooled",
        "clip_img": "clip_img",
    },
    "stage_b": {"x": "sample", "r": "timestep_ratio", "clip": "clip_text_pooled", "effnet": "effnet"},
}  # fmt: skip


TORCH_DEVICE = "cuda" if DEVICE == "gpu" else "cpu"
TORCH_DTYPE = getattr(torch, DTYPE)


def start_torch(package=diffusers) -> Side:
    """As many threads as this process was given; who this is: torch and `package`."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    name = f"{package.__name__} {package.__version__}, torch {torch.__version__}"
    return Side(name) if DEVICE == "cpu" else Side(name, torch.cuda.synchronize, torch.cuda.max_memory_allocated)


def on_device(tensors: dict, dtype=TORCH_DTYPE) -> dict:
    """{name: tensor} where this process computes, numbers in `dtype`."""
    return {key: t.to(TORCH_DEVICE, dtype if t.is_floating_point() else t.dtype) for key, t in tensors.items()}


def unet(kind: str, version: str, dtype=TORCH_DTYPE) -> StableCascadeUNet:
    """In evaluation mode."""
    with torch.device("meta"):
        network = StableCascadeUNet(**CONFIGS[kind, version])
    network.to_empty(device=TORCH_DEVICE)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            tensor.copy_(release_tensor(key.replace("clip_txt_pooled_mapper.", CLIP_MAPPER[kind]), tuple(tensor.shape)))
    return network.to(dtype).eval()


CLIP_MAPPER = {"stage_c": "clip_txt_pooled_mapper.", "stage_b": "clip_mapper."}  # of the release


def arguments(kind: str, inputs: dict) -> dict:
    """The case's inputs as diffusers names them."""
    renamed = {theirs: inputs[ours] for ours, theirs in NAMES[kind].items()}
    return renamed if kind == "stage_c" else renamed | {"pixels": inputs["x"].new_zeros(inputs["x"].shape[0], 3, 8, 8)}


def release_tensor(key: str, shape) -> torch.Tensor:
    """The rule's tensor for a diffusers key: the release fuses query, key and value, and names the output map apart."""
    parts = {"to_q": 0, "to_k": 1, "to_v": 2}
    *path, name, leaf = key.split(".")
    if name in parts:
        fused = rule_tensor(".".join([*path, "attn", f"in_proj_{leaf}"]), (3 * shape[0], *shape[1:]))
        return torch.from_numpy(fused[parts[name] * shape[0] : (parts[name] + 1) * shape[0]].copy())
    key = key.replace("attention.to_out.0.", "attention.attn.out_proj.")
    return torch.from_numpy(rule_tensor(key, shape))
