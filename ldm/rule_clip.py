"""Small CLIP folders in Hugging Face format, filled by a rule instead of training, for tests and trial runs."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ldm.weights.rule import rule_tensor

MAX_LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"
_NUM_BYTES = 256
_START_ID = 2 * _NUM_BYTES  # each byte has a token inside a word and one at its end
_END_ID = _START_ID + 1


def write_text_encoder(folder, *, width=64, projection_dim=48, layers=3, heads=4, salt=""):
    """Write config.json and model.safetensors of a CLIP text tower with the vocabulary of `write_tokenizer`."""
    shapes = {
        "text_model.embeddings.token_embedding.weight": (_END_ID + 1, width),
        "text_model.embeddings.position_embedding.weight": (MAX_LENGTH, width),
        **_layer_shapes("text_model", width, layers),
        **_norm_shapes("text_model.final_layer_norm", width),
        "text_projection.weight": (projection_dim, width),
    }
    config = {
        **_shared_config("text", width, projection_dim, layers, heads),
        "hidden_act": "gelu",  # as CLIP-bigG: exact
        "vocab_size": _END_ID + 1,
        "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": _START_ID,
        "eos_token_id": _END_ID,
        "pad_token_id": _END_ID,
    }
    _write(folder, config, shapes, salt)


def write_image_encoder(
    folder, *, width=64, projection_dim=32, layers=3, heads=4, image_size=32, patch_size=8, salt=""
):
    """Write config.json and model.safetensors of a CLIP image tower that takes images of side `image_size`."""
    if image_size % patch_size:
        raise ValueError(f"image_size {image_size} is no multiple of patch_size {patch_size}")
    shapes = {
        "vision_model.embeddings.class_embedding": (width,),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, patch_size, patch_size),
        "vision_model.embeddings.position_embedding.weight": ((image_size // patch_size) ** 2 + 1, width),
        **_norm_shapes("vision_model.pre_layrnorm", width),  # the release spells it so
        **_layer_shapes("vision_model", width, layers),
        **_norm_shapes("vision_model.post_layernorm", width),
        "visual_projection.weight": (projection_dim, width),
    }
    config = {
        **_shared_config("vision", width, projection_dim, layers, heads),
        "hidden_act": "quick_gelu",  # as CLIP-L
        "num_channels": 3,
        "image_size": image_size,
        "patch_size": patch_size,
    }
    _write(folder, config, shapes, salt)


def write_tokenizer(folder):
    """Write a byte-level tokenizer without merges: one token per UTF-8 byte, so that any language has ids."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), START, END]
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    config = {
        **special,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": MAX_LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    _write_json(folder / "vocab.json", {token: index for index, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", special)


def _byte_letters():
    """A visible letter for each byte, in CLIP's order: printable Latin-1 is itself, the rest follow from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(_NUM_BYTES - len(printable))]


def _norm_shapes(prefix, width):
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


def _linear_shapes(prefix, c_in, c_out):
    return {f"{prefix}.weight": (c_out, c_in), f"{prefix}.bias": (c_out,)}


def _layer_shapes(tower, width, layers):
    shapes = {}
    for index in range(layers):
        layer = f"{tower}.encoder.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes.update(_linear_shapes(f"{layer}.self_attn.{name}", width, width))
        shapes.update(_norm_shapes(f"{layer}.layer_norm1", width))
        shapes.update(_linear_shapes(f"{layer}.mlp.fc1", width, 4 * width))
        shapes.update(_linear_shapes(f"{layer}.mlp.fc2", 4 * width, width))
        shapes.update(_norm_shapes(f"{layer}.layer_norm2", width))
    return shapes


def _shared_config(tower, width, projection_dim, layers, heads):
    if width % heads:
        raise ValueError(f"width {width} is no multiple of {heads} heads")
    return {
        "architectures": [f"CLIP{tower.capitalize()}ModelWithProjection"],
        "model_type": f"clip_{tower}_model",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "projection_dim": projection_dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "attention_dropout": 0.0,
        "layer_norm_eps": 1e-05,
        "dtype": "float32",
    }


def _write(folder, config, shapes, salt):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", config)
    tensors = {key: np.ascontiguousarray(rule_tensor(key, shape, salt)) for key, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _write_json(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
