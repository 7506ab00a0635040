"""Small CLIP folders in Hugging Face format, filled by a rule instead of training, for tests and trial runs."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ldm.clip.files import NUM_BYTES, SMALLEST_VOCABULARY, write_config, write_tokenizer_files
from ldm.weights.synthetic import rule_tensor

MAX_LENGTH = 77
_START_ID = 2 * NUM_BYTES  # each byte has a token inside a word and one at its end
_END_ID = _START_ID + 1


def write_text_encoder(folder, *, width=64, projection_dim=48, layers=3, heads=4, salt=""):
    """Write config.json and model.safetensors of a CLIP text tower with the vocabulary of `write_tokenizer`."""
    shapes = {
        "text_model.embeddings.token_embedding.weight": (SMALLEST_VOCABULARY, width),
        "text_model.embeddings.position_embedding.weight": (MAX_LENGTH, width),
        **_layer_shapes("text_model", width, layers),
        **_norm_shapes("text_model.final_layer_norm", width),
        "text_projection.weight": (projection_dim, width),
    }
    config = {
        **_shared_config(width, projection_dim, layers, heads),
        "hidden_act": "gelu",  # as CLIP-bigG: exact
        "vocab_size": SMALLEST_VOCABULARY,
        "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": _START_ID,
        "eos_token_id": _END_ID,
        "pad_token_id": _END_ID,
    }
    _write(folder, "text", config, shapes, salt)


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
        **_shared_config(width, projection_dim, layers, heads),
        "hidden_act": "quick_gelu",  # as CLIP-L
        "num_channels": 3,
        "image_size": image_size,
        "patch_size": patch_size,
    }
    _write(folder, "vision", config, shapes, salt)


def write_tokenizer(folder):
    """Write a byte-level tokenizer without merges: one token per UTF-8 byte, so that any language has ids."""
    write_tokenizer_files(folder, merges=(), max_length=MAX_LENGTH)


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


def _shared_config(width, projection_dim, layers, heads):
    if width % heads:
        raise ValueError(f"width {width} is no multiple of {heads} heads")
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "projection_dim": projection_dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "attention_dropout": 0.0,
    }


def _write(folder, tower, config, shapes, salt):
    folder = Path(folder)
    write_config(folder, tower, config)
    tensors = {key: np.ascontiguousarray(rule_tensor(key, shape, salt)) for key, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
