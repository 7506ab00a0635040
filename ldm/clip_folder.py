"""Folders of a CLIP tower in Hugging Face's format -> PaddleNLP's network filled from them, and its tokenizer.

Reading the weights is done here and not by PaddleNLP's `from_pretrained`, which only warns and keeps random values when
a tensor is missing, and which transposes whatever it is told is PyTorch's. The names in the file tell the layout
(Hugging Face's: PyTorch, (out, in); PaddleNLP's: Paddle, (in, out)) and every shape is checked. Only safetensors are
read, never a pickle, and nothing here touches the network.
"""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import paddle

from ldm.clip_format import LAYER_NORM_EPS
from ldm.release import check_device_dtype
from ldm.weights.files import TensorFile
from ldm.weights.plan import report_mismatch

WEIGHT_FILES = (  # the first that exists is read
    "model.safetensors",
    "model.safetensors.index.json",
    "model.bf16.safetensors",
    "model.fp16.safetensors",
)
PICKLES = ("model_state.pdparams", "pytorch_model.bin")
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")
SHARED_FIELDS = (
    *("hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads"),
    *("hidden_act", "attention_dropout"),
)
TEXT_FIELDS = (
    *SHARED_FIELDS,
    *("vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"),
)
IMAGE_FIELDS = (*SHARED_FIELDS, "num_channels", "image_size", "patch_size")
# In a folder of the whole CLIP model, what belongs to the other tower:
NOT_TEXT = ("vision_model.", "visual_projection", "vision_projection", "logit_scale")
NOT_IMAGE = ("text_model.", "text_projection", "logit_scale")

LEGACY_EOS = 2  # written by old `transformers`; it means "the largest id of the row", that is, the end token


def load_text_tower(folder, dtype="float32", tokenizer=None):
    """`config.json` and weights of either layout -> CLIPTextModelWithProjection, frozen, in evaluation mode.

    With a tokenizer, captions are embedded at its end token, and one of another model is refused. A missing folder or
    file raises FileNotFoundError; a damaged or unsuitable one ValueError.
    """
    check_device_dtype(dtype)
    folder = _existing_folder(folder, "text_encoder/")
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
    folder = _existing_folder(folder, "image_encoder/")
    fields, whole_clip = _read_config(folder, "vision", IMAGE_FIELDS)
    config_class, model_class = tower_classes("vision")
    config = config_class(**fields)
    return _load_tower(model_class, config, folder, dtype, NOT_IMAGE if whole_clip else ())


def load_tokenizer(folder):
    """The CLIPTokenizer of a folder; its files are checked first, since PaddleNLP's own messages name none."""
    from paddlenlp.transformers import CLIPTokenizer

    folder = _existing_folder(folder, "tokenizer/")
    for name in TOKENIZER_FILES:
        path = _existing_file(folder / name)
        if path.suffix == ".json":
            _read_json(path)
    # An absolute path, so that a folder's name can never be taken for a model to download.
    tokenizer = CLIPTokenizer.from_pretrained(str(folder.resolve()))
    tokenizer.name_or_path = str(folder)
    return tokenizer


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


def field_problems(fields):
    """What of a config's fields no tower can be built from, one sentence each; PaddleNLP would fail obscurely."""
    counts = {k: v for k, v in fields.items() if k.endswith(("_size", "_dim", "_layers", "_heads", "_embeddings"))}
    problems = [f"{name} is {value!r}" for name, value in counts.items() if not (isinstance(value, int) and value > 0)]
    if fields.get("hidden_act", "quick_gelu") not in ("gelu", "quick_gelu"):
        problems.append(f"hidden_act is {fields['hidden_act']!r}, known are gelu (exact) and quick_gelu")
    if fields.get("layer_norm_eps", LAYER_NORM_EPS) != LAYER_NORM_EPS:  # PaddleNLP would ignore it
        problems.append(f"layer_norm_eps is {fields['layer_norm_eps']}, only {LAYER_NORM_EPS} is supported")
    if not problems and fields.get("hidden_size", 0) % fields.get("num_attention_heads", 1):
        problems.append(f"hidden_size {fields['hidden_size']} is no multiple of {fields['num_attention_heads']} heads")
    return problems


# ---- folders, config, tokenizer


def _remedy(name):
    return f"download {name} of the Stable Cascade release or point WEIGHTS_PATH at a folder that has it"


def _existing_folder(folder, name):
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: {_remedy(name)}")
    return folder


def _existing_file(path):
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {_remedy(f'{path.parent.name}/{path.name}')}")
    return path


def _read_json(path):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): {_remedy(f'{path.parent.name}/{path.name}')}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an object")
    return content


def _read_config(folder, tower, wanted):
    """Those of the wanted fields that config.json has, and whether the folder is of the whole CLIP model."""
    path = _existing_file(folder / "config.json")
    config = _read_json(path)
    model_type = config.get("model_type", f"clip_{tower}_model")
    whole_clip = model_type == "clip"
    if whole_clip:
        top = {"projection_dim": config["projection_dim"]} if "projection_dim" in config else {}
        config = {**(config.get(f"{tower}_config") or {}), **top}
    elif model_type != f"clip_{tower}_model":
        raise ValueError(f"{path} describes a {model_type!r}, not a clip_{tower}_model: is this the right folder?")
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
        holders = {
            name: file
            for file in files
            for name in file.keys()
            # `position_ids` is a constant that old versions of `transformers` saved.
            if not name.endswith(".position_ids") and not name.startswith(other_tower)
        }
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
    for parameter in model.parameters():
        parameter.stop_gradient = True
    model.eval()
    return model


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


def weight_files(folder):
    """The one file of a folder's weights, or its shards."""
    name = next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if name is None:
        pickles = [pickle for pickle in PICKLES if (folder / pickle).is_file()]
        converted = (
            f", only {' and '.join(pickles)}, which could run code when read: load it with the library that wrote it "
            "and save_pretrained(folder, safe_serialization=True), or"
            if pickles
            else ":"
        )
        raise FileNotFoundError(
            f"{folder} has no {WEIGHT_FILES[0]}{converted} {_remedy(f'{folder.name}/{WEIGHT_FILES[0]}')}"
        )
    path = folder / name
    if path.suffix != ".json":
        return [path]
    parts = _read_json(path).get("weight_map")
    if not isinstance(parts, dict):
        raise ValueError(f"{path} has no weight_map: {_remedy(f'{folder.name}/{name}')}")
    return [_existing_file(folder / part) for part in sorted(set(parts.values()))]
