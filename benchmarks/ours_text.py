"""Worker: CLIP's text tower of the release's size (bigG, 32 layers of width 1280), filled by rule.

python benchmarks/ours_text.py INPUTS plain CACHE
"""

import sys
from pathlib import Path

from filled import start_paddle
from worker import serve

inputs_path, _, cache = sys.argv[1:]
side = start_paddle()
import numpy as np  # noqa: E402
from full_release import BIG_G  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from ldm.clip.encoders import TextEncoder  # noqa: E402
from ldm.demo.rule_clip import write_text_encoder, write_tokenizer  # noqa: E402

folder = Path(cache) / "bigG"  # the peer, which starts later, reads it too
if not (folder / "model.safetensors").exists():
    write_text_encoder(folder, **BIG_G)
    write_tokenizer(folder)
encoder = TextEncoder.from_folder(folder, folder)
ids = load_file(inputs_path)["ids"]
mask = np.ones_like(ids)


def encode():
    return encoder(ids, mask)


def arrays(output) -> dict:
    return {"text": output[0].numpy(), "pooled": output[1].numpy()}


serve(encode, arrays, side)
