"""CLIP towers (Radford et al., https://arxiv.org/abs/2103.00020) made from nothing, and written as folders.

A tower is described by the fields of its config.json, a plain dictionary; `ldm.clip.folder` reads the folders.
"""

from pathlib import Path

import numpy as np
import paddle

from ldm.clip.config import IMAGE_FIELDS, LEGACY_EOS, TEXT_FIELDS, field_problems
from ldm.clip.files import write_config
from ldm.clip.folder import empty_model, hugging_face_names, tower_classes
from ldm.weights.files import write_tensors
from ldm.weights.plan import check_dtype, report_mismatch

FIELDS = {"text": TEXT_FIELDS, "image": IMAGE_FIELDS}
OPTIONAL = ("attention_dropout",)  # 0 where it is left out
FIXED = ("architectures", "model_type", "layer_norm_eps", "dtype")  # what else a config.json written here says
HUGGING_FACE = {"text": "text", "image": "vision"}  # its names for the towers
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")

# Standard deviations of a new text tower's embeddings. Hugging Face's 0.02 is for hundreds of millions of pairs: trained
# on a few thousand, the tower's blocks drown every word that contrast does not need. Where captions end, and in the
# padding after it, what counts is what attention brings from the words: an end token as loud as a word makes all
# captions alike. One word changed moves the pooled embedding of a new tower by 21 to 33 % like this, by 6 % otherwise.
WORD_STD, MARK_STD, PLACE_STD, HUGGING_FACE_STD = 1.0, 0.1, 0.1, 0.02
PATCH_PLACE_STD = 0.3  # of a new image tower's positions: about what its patches have, which drown 0.02


def new_text_tower(config: dict):
    """CLIPTextModelWithProjection with random weights, trainable, in training mode.

    config: every field of `ldm.clip.config.TEXT_FIELDS`; the vocabulary's size and ids are what
    `ldm.clip.tokenizer.write_tokenizer` returns. The weights are drawn from Paddle's generator, by the standard
    deviations of Hugging Face's CLIP (the rest by width and depth, biases 0) except for the embeddings: WORD_STD, for
    start, end and padding MARK_STD, and PLACE_STD. ValueError lists every field that is missing, unknown or impossible.
    """
    tower = _new_tower("text", config)
    words, places = tower.text_model.token_embedding.weight, tower.text_model.positional_embedding.weight
    scale = paddle.full([len(words), 1], WORD_STD)
    scale[[config[name] for name in TOKEN_IDS]] = MARK_STD
    words.set_value(words * (scale / HUGGING_FACE_STD))
    places.set_value(places * (PLACE_STD / HUGGING_FACE_STD))
    return tower


def new_image_tower(config: dict):
    """CLIPVisionModelWithProjection; `ldm.clip.config.IMAGE_FIELDS`; as `new_text_tower`, positions PATCH_PLACE_STD."""
    tower = _new_tower("image", config)
    places = tower.vision_model.positional_embedding.weight
    places.set_value(places * (PATCH_PLACE_STD / HUGGING_FACE_STD))
    return tower


def tower_config(model) -> dict:
    """The fields a tower was built from, new or loaded: what `write_tower` and `new_*_tower` take."""
    tower = "text" if isinstance(model, tower_classes("text")[1]) else "image"
    return {name: getattr(model.config, name) for name in FIELDS[tower]}


def write_tower(folder, tower: str, config: dict, state: dict, dtype: str = "float32"):
    """Write config.json and model.safetensors, Hugging Face's names and layout; each appears only when complete.

    tower: "text" or "image". state: {PaddleNLP's parameter name: Paddle tensor or numpy array}, a tower's
    `state_dict()`. dtype: how the weights are stored. ValueError for a config as in `new_text_tower` and for a state
    that lacks a parameter, has another or has one in another shape; nothing is written then.
    """
    check_dtype(dtype)
    folder = Path(folder)
    fields = _checked_fields(tower, config)
    config_class, model_class = tower_classes(HUGGING_FACE[tower])
    paddle_config = config_class(**fields)
    shapes = {k: tuple(v.shape) for k, v in empty_model(model_class, paddle_config, "float32").state_dict().items()}
    _check_state(f"the state for {folder}", shapes, state)

    names = hugging_face_names(model_class, paddle_config)
    entries = [
        (name, dtype, shapes[source][:: -1 if transposed else 1], _reader(state[source], transposed))
        for name, (source, transposed) in names.items()
    ]
    write_tensors(folder / "model.safetensors", entries, {"format": "pt"})
    write_config(folder, HUGGING_FACE[tower], fields, dtype)


def _new_tower(tower, config):
    fields = _checked_fields(tower, config)
    config_class, model_class = tower_classes(HUGGING_FACE[tower])
    return model_class(config_class(**fields))


def _checked_fields(tower, config):
    """The fields that describe a tower, or one ValueError with all that is wrong with them."""
    if tower not in FIELDS:
        raise ValueError(f"tower is {tower!r}; choose {' or '.join(map(repr, FIELDS))}")
    # PaddleNLP fills in CLIP's sizes for what is missing and ignores what it does not know.
    missing = [name for name in FIELDS[tower] if name not in config and name not in OPTIONAL]
    unknown = [name for name in config if name not in (*FIELDS[tower], *FIXED)]
    problems = [f"{name} is missing" for name in missing] + [f"{name} is unknown, leave it out" for name in unknown]
    expected = f"clip_{HUGGING_FACE[tower]}_model"
    if config.get("model_type", expected) != expected:
        problems.append(f"model_type is {config['model_type']!r}, not {expected!r}")
    problems += field_problems(config)
    if not problems:
        problems += (_text_problems if tower == "text" else _image_problems)(config)
    if problems:
        raise ValueError(f"the config of the {tower} tower is unsuitable: {'; '.join(problems)}")
    return {name: config.get(name, 0.0) for name in FIELDS[tower]}


def _text_problems(config):
    size = config["vocab_size"]
    problems = [
        f"{name} is {config[name]!r}, the vocabulary has ids 0 to {size - 1}"
        for name in TOKEN_IDS
        if not (isinstance(config[name], int) and 0 <= config[name] < size)
    ]
    if config["eos_token_id"] == LEGACY_EOS:
        problems.append(f"eos_token_id {LEGACY_EOS} means the largest id of a row to PaddleNLP, so choose another id")
    return problems


def _image_problems(config):
    problems = []
    if config["image_size"] % config["patch_size"]:  # the network would not look at the rest
        problems.append(f"image_size {config['image_size']} is no multiple of patch_size {config['patch_size']}")
    if config["num_channels"] != 3:
        problems.append(f"num_channels is {config['num_channels']}, images have 3")
    return problems


def _check_state(origin, shapes, state):
    missing = [name for name in shapes if name not in state]
    unexpected = [name for name in state if name not in shapes]
    misshapen = [
        f"{name} {tuple(state[name].shape)}, expected {shape}"
        for name, shape in shapes.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    report_mismatch(origin, missing, unexpected, misshapen)


def _reader(value, transposed):
    """A function returning one parameter as a float32 array, as it is stored."""

    def read():
        # numpy has no bfloat16, and gets its bits from Paddle
        array = value.astype("float32").numpy() if isinstance(value, paddle.Tensor) else np.asarray(value, "float32")
        return array.T if transposed else array

    return read
