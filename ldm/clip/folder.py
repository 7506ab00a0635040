"""Folders of a CLIP tower in Hugging Face's format -> PaddleNLP's network filled from them.

Reading the weights is done here and not by PaddleNLP's `from_pretrained`, which only warns and keeps random values when
a tensor is missing, and transposes on a flag instead of by the names. The names in the file show the layout
(Hugging Face's: PyTorch, (out, in); PaddleNLP's: Paddle, (in, out)) and every shape is checked. Only safetensors are
read, never a pickle, and nothing here touches the network.
"""

from contextlib import ExitStack
from math import prod

import numpy as np
import paddle

from ldm.clip.config import IMAGE_FIELDS, LEGACY_EOS, TEXT_FIELDS, check_size, field_problems
from ldm.clip.files import LAYER_NORM_EPS, existing_file, existing_folder, read_folder_json, remedy, weight_files
from ldm.weights.files import TensorFile
from ldm.weights.plan import check_float, report_mismatch
from ldm.weights.release import check_device_dtype

# In a folder of the whole CLIP model, what belongs to the other tower:
NOT_TEXT = ("vision_model.", "visual_projection", "vision_projection", "logit_scale")
NOT_IMAGE = ("text_model.", "text_projection", "logit_scale")


def load_text_tower(folder, dtype="float32", tokenizer=None):
    """`config.json` and weights of either layout -> CLIPTextModelWithProjection, frozen, in evaluation mode.

    With a tokenizer, captions are embedded at its end token, and one of another model is refused. A missing folder or
    file raises FileNotFoundError; a damaged or unsuitable one ValueError.
    """
    check_device_dtype(dtype)
    folder = existing_folder(folder, "text_encoder/")
    fields, whole_clip = _read_config(folder, "text", TEXT_FIELDS)
    config_class, model_class = tower_classes("text")
    config = config_class(**fields)
    if tokenizer is not None:
        _check_tokenizer_fits(tokenizer, config, folder)
        # PaddleNLP pools at the first `eos_token_id`, or for the legacy value at the largest id of the row. Those agree
        # until a token is added after the end token; naming the end token keeps the first rule right then too.
        config.eos_token_id = tokenizer.eos_token_id
    return _load_tower(model_class, config, folder, dtype, NOT_TEXT if whole_clip else ())


def load_image_tower(folder, dtype="float32"):
    """`config.json` and weights -> CLIPVisionModelWithProjection; otherwise as `load_text_tower`."""
    check_device_dtype(dtype)
    folder = existing_folder(folder, "image_encoder/")
    fields, whole_clip = _read_config(folder, "vision", IMAGE_FIELDS)
    config_class, model_class = tower_classes("vision")
    config = config_class(**fields)
    return _load_tower(model_class, config, folder, dtype, NOT_IMAGE if whole_clip else ())


# ---- PaddleNLP's networks


def tower_classes(tower):
    """PaddleNLP's (config class, model class) of a tower by Hugging Face's name: "text" or "vision"."""
    from paddlenlp import transformers

    name = f"CLIP{tower.capitalize()}"
    return getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}ModelWithProjection")


def hugging_face_names(model_class, config):
    """{name in Hugging Face's files: (PaddleNLP's parameter name, whether it is stored transposed)}."""
    mappings = model_class._get_name_mappings(config)
    return {m.source_name: (m.target_name, m.action == "transpose") for m in mappings}


def empty_model(model_class, config, dtype):
    """The network with zeros for weights: drawing random ones for bigG takes longer than reading the file."""
    from paddlenlp.transformers.model_utils import dtype_guard, no_init_weights

    constant = paddle.nn.initializer.Constant(0.0)
    paddle.nn.initializer.set_global_initializer(constant, constant)
    try:
        with dtype_guard(dtype), no_init_weights():
            return model_class(config)
    finally:
        paddle.nn.initializer.set_global_initializer(None, None)


# ---- folders, config


def _read_config(folder, tower, wanted):
    """Those of the wanted fields that config.json has, and whether the folder is of the whole CLIP model."""
    path = existing_file(folder / "config.json")
    config = read_folder_json(path)
    model_type = config.get("model_type", f"clip_{tower}_model")
    whole_clip = model_type == "clip"
    if whole_clip:
        top = {"projection_dim": config["projection_dim"]} if "projection_dim" in config else {}
        own = config.get(f"{tower}_config") or {}
        if not isinstance(own, dict):
            raise ValueError(f"{path}: {tower}_config is {own!r:.100}, not an object: {remedy(path.parent.name)}")
        config = {**own, **top}
    elif model_type != f"clip_{tower}_model":
        raise ValueError(f"{path} describes a {model_type!r:.60}, not a clip_{tower}_model: is this the right folder?")
    fields = {name: config[name] for name in wanted if name in config}
    problems = field_problems({**fields, "layer_norm_eps": config.get("layer_norm_eps", LAYER_NORM_EPS)})
    if problems:
        raise ValueError(f"{path} is unsuitable: {'; '.join(problems)}")
    return fields, whole_clip


def _check_tokenizer_fits(tokenizer, config, folder):
    """Ids the model has no embedding for, or an end token it does not look for, would go wrong silently."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise ValueError(
            f"the tokenizer in {tokenizer.name_or_path} has token ids up to {largest}, the model in {folder} only "
            f"{config.vocab_size} tokens: take both from the same release"
        )
    if config.eos_token_id not in (LEGACY_EOS, tokenizer.eos_token_id):
        raise ValueError(
            f"the tokenizer in {tokenizer.name_or_path} ends a caption with token {tokenizer.eos_token_id}, "
            f"{folder / 'config.json'} says eos_token_id {config.eos_token_id}: take both from the same release"
        )


# ---- weights


def _load_tower(model_class, config, folder, dtype, other_tower):
    """Build the network and fill every parameter from the folder; the names in the file tell the layout."""
    with ExitStack() as stack:
        files = [stack.enter_context(TensorFile(path)) for path in weight_files(folder)]
        holders = _holders(files, other_tower)
        stored = sum(prod(file.shapes[name]) for name, file in holders.items())
        check_size(config, stored, str(folder / "config.json"), remedy(folder.name))
        model = empty_model(model_class, config, dtype)
        parameters = model.state_dict()

        from_torch = hugging_face_names(model_class, config)
        from_paddle = {name: (name, False) for name in parameters}
        key_map = from_paddle if len(holders.keys() & from_paddle) > len(holders.keys() & from_torch) else from_torch
        _check_tensors(folder, holders, key_map, parameters)

        for name, (target, transposed) in key_map.items():
            array = holders[name].read_numpy(name)
            array = np.ascontiguousarray(array.T if transposed else array)
            parameters[target].set_value(paddle.to_tensor(array).astype(parameters[target].dtype))
        for file in files:
            file.check_unchanged()
    for parameter in model.parameters():
        parameter.stop_gradient = True
    model.eval()
    return model


def _holders(files, other_tower) -> dict:
    """{name: the file that has it} of a tower's tensors; ValueError for one that two files have."""
    holders = {}
    for file in files:
        # `position_ids` is a constant that old versions of `transformers` saved
        names = [n for n in file.keys() if not n.endswith(".position_ids") and not n.startswith(other_tower)]
        twice = next((name for name in names if name in holders), None)
        if twice is not None:
            raise ValueError(
                f"{file.path} and {holders[twice].path} both have {twice}: {remedy(file.path.parent.name)}"
            )
        check_float(file, names)
        holders |= dict.fromkeys(names, file)
    return holders


def _check_tensors(folder, holders, key_map, parameters):
    """Every tensor used, every parameter filled, every shape equal; otherwise one error with all of it."""
    missing = sorted(name for name in key_map if name not in holders)
    unexpected = sorted(holders.keys() - key_map)
    misshapen = []
    for name, (target, transposed) in key_map.items():
        expected = tuple(parameters[target].shape)[:: -1 if transposed else 1]
        if name in holders and holders[name].shapes[name] != expected:
            misshapen.append(f"{name} {holders[name].shapes[name]}, expected {expected}")
    report_mismatch(str(folder), missing, unexpected, misshapen)
