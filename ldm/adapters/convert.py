"""A LoRA file converted to the other layout, or merged into a prior file, one tensor of the prior at a time."""

import json
from pathlib import Path

from ldm.adapters.base import check_base, without_base
from ldm.adapters.files import LoraFile, change_weights, read_lora, write_lora
from ldm.networks.variants import VARIANTS, variant_config
from ldm.weights.convert import convert_file
from ldm.weights.detect import stored_config
from ldm.weights.files import TensorFile
from ldm.weights.plan import WeightsMismatch, is_paddle_layout
from ldm.weights.release import CONFIG, build_unfilled, network_config


def convert_lora(
    source, target, layout: str, prior=None, filters=None, specs=None, dtype: str = "float32", any_prior: bool = False
) -> LoraFile:
    """Write `source`, in either layout, to `target` in `layout`.

    prior: a file of the prior it belongs to; default: what the LoRA's metadata says, else the released size that fits.
    filters, specs: as in `read_lora`; they are noted in the new file. any_prior: the new file no longer says which prior
    it was trained on, and is taken for any of its size. ValueError if `prior` is another one.
    """
    _check_target(source, target)
    network, lora = read_for(source, prior, filters, specs)
    if any_prior:
        lora = without_base(lora)
    elif prior is not None:
        check_base(lora, source, prior, network)
    write_lora(target, lora, network, layout, filters, dtype)
    return lora


def merge_lora(source, prior, target, scale: float = 1.0, dtype=None, filters=None) -> LoraFile:
    """Write the prior file `prior`, in its own layout, with the LoRA times `scale` merged. dtype None: the prior's."""
    _check_target(source, target)
    network, lora = read_for(source, prior, filters)
    check_base(lora, source, prior, network)
    with TensorFile(prior) as file:
        to_release = not is_paddle_layout(file)
    change = change_weights(lora.updates, scale)
    convert_file(prior, target, network, "stage_c", dtype, to_release, change=change)
    return lora


def read_for(source, prior=None, filters=None, specs=None) -> tuple:
    """The prior a LoRA file belongs to, without weights, and the LoRA."""
    with TensorFile(source) as file:
        config, where = stored_config(file), f"{source}: {CONFIG}"
    if prior is not None:
        config, where = network_config(prior, "stage_c"), f"{prior}: {CONFIG}"
    if config is not None:
        network = build_unfilled("stage_c", config, where)
        return network, read_lora(source, network, filters, specs)
    problems = []
    for version in VARIANTS["stage_c"][1]:
        network = build_unfilled("stage_c", variant_config("stage_c", version))
        try:
            return network, _noted(read_lora(source, network, filters, specs), version)
        except WeightsMismatch as error:
            problems.append(f"{version}: {error}")
    raise WeightsMismatch(
        f"{source} says nothing of its prior and fits no released one; name its file with --prior. "
        + " ".join(problems)
    )


def _noted(lora: LoraFile, version: str) -> LoraFile:
    """With the size it fits in its notes."""
    return LoraFile(lora.updates, lora.tokens, {**lora.notes, "config": json.dumps(variant_config("stage_c", version))})


def _check_target(source, target):
    if Path(source).resolve() == Path(target).resolve():
        raise ValueError(f"{target}: source and target are the same file; give another --output.")
