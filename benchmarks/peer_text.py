"""Worker: transformers' CLIP text tower in PyTorch, the files that ours_text.py has written.

python benchmarks/peer_text.py INPUTS eager|compiled CACHE
"""

import sys
from pathlib import Path

import torch
import transformers
from peer_networks import TORCH_DEVICE, start_torch
from safetensors.torch import load_file
from transformers import CLIPTextModelWithProjection
from worker import serve

inputs_path, way, cache = sys.argv[1:]
side = start_torch(transformers)
network = CLIPTextModelWithProjection.from_pretrained(Path(cache) / "bigG", dtype=torch.float32).eval().to(TORCH_DEVICE)
ids = load_file(inputs_path)["ids"].to(TORCH_DEVICE)
mask = torch.ones_like(ids)
tower = torch.compile(network) if way == "compiled" else network


@torch.no_grad()
def encode():
    output = tower(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    return {"text": output.hidden_states[-1], "pooled": output.text_embeds.unsqueeze(1)}


serve(
    encode,
    lambda output: {key: value.cpu().numpy() for key, value in output.items()},
    side,
    way,
)
