"""The rule's weights under diffusers' names."""

import torch

from ldm.weights.rule import rule_tensor


def release_tensor(key: str, shape) -> torch.Tensor:
    """The rule's tensor for a diffusers key: the release fuses query, key and value, and names the output map apart."""
    parts = {"to_q": 0, "to_k": 1, "to_v": 2}
    *path, name, leaf = key.split(".")
    if name in parts:
        fused = rule_tensor(".".join([*path, "attn", f"in_proj_{leaf}"]), (3 * shape[0], *shape[1:]))
        return torch.from_numpy(fused[parts[name] * shape[0] : (parts[name] + 1) * shape[0]].copy())
    key = key.replace("attention.to_out.0.", "attention.attn.out_proj.")
    return torch.from_numpy(rule_tensor(key, shape))
