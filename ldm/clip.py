"""The frozen CLIP towers (Radford et al., https://arxiv.org/abs/2103.00020): captions and images -> embeddings.

The networks are PaddleNLP's. Reading the weights is done here and not by its `from_pretrained`, which only warns and
keeps random values when a tensor is missing, and which transposes whatever it is told is PyTorch's. The names in the
file tell the layout (Hugging Face's: PyTorch, (out, in); PaddleNLP's: Paddle, (in, out)) and every shape is checked.
Nothing here touches the network.

Notation: B images or captions, L tokens, S the side of an image.
"""

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import paddle

from ldm.weights.files import TensorFile

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's own, not ImageNet's
STD = (0.26862954, 0.26130258, 0.27577711)

_DTYPES = ("float32", "float16", "bfloat16")
_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "model_state.pdparams",
    "model_state.pdparams.index.json",
    "model.bf16.safetensors",
    "model.fp16.safetensors",
)
_TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")
_SHARED_FIELDS = (
    *("hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads"),
    *("hidden_act", "attention_dropout"),
)
_TEXT_FIELDS = (
    *_SHARED_FIELDS,
    *("vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"),
)
_IMAGE_FIELDS = (*_SHARED_FIELDS, "num_channels", "image_size", "patch_size")
# In a folder of the whole CLIP model, what belongs to the other tower:
_NOT_TEXT = ("vision_model.", "visual_projection", "vision_projection", "logit_scale")
_NOT_IMAGE = ("text_model.", "text_projection", "logit_scale")

_LEGACY_EOS = 2  # written by old `transformers`; it means "the largest id of the row", that is, the end token
_SHORTEST = 3  # start, one token, end


class TextEncoder:
    """CLIP's text tower and its tokenizer, frozen. Not a `paddle.nn.Layer`, so no optimiser or autocast reaches it.

    `width` is the size of a token's embedding, `projection_dim` that of a caption's, `max_length` the most tokens.
    """

    def __init__(self, model, tokenizer):
        config = model.config
        self.model = model
        self.tokenizer = tokenizer
        self.width = config.hidden_size
        self.projection_dim = config.projection_dim
        self.vocab_size = config.vocab_size
        self.max_length = min(config.max_position_embeddings, int(tokenizer.model_max_length))
        self.dtype = model.text_projection.dtype

    @classmethod
    def from_folder(cls, text_encoder_dir, tokenizer_dir, dtype="float32"):
        """Read `config.json` and weights of either layout from one folder, the tokenizer's files from the other.

        A missing folder or file raises FileNotFoundError; a damaged or unsuitable one ValueError.
        """
        from paddlenlp.transformers import CLIPTextConfig, CLIPTextModelWithProjection

        dtype = _checked_dtype(dtype)
        folder = _existing_folder(text_encoder_dir, "text_encoder/")
        fields, whole_clip = _read_config(folder, "text", _TEXT_FIELDS)
        config = CLIPTextConfig(**fields)
        tokenizer = _load_tokenizer(_existing_folder(tokenizer_dir, "tokenizer/"))
        _check_tokenizer_fits(tokenizer, config, folder, tokenizer_dir)
        # PaddleNLP pools at the first `eos_token_id`, or for the legacy value at the largest id of the row. Those agree
        # until a token is added after the end token; naming the end token keeps the first rule right then too.
        config.eos_token_id = tokenizer.eos_token_id
        model = _load_tower(CLIPTextModelWithProjection, config, folder, dtype, _NOT_TEXT if whole_clip else ())
        return cls(model, tokenizer)

    def tokenize(self, captions, max_length=None):
        """Captions -> (input_ids, attention_mask), int64 (B, L) with L = `max_length` (default: the limit).

        Too long captions are cut and still end with the end token. Raises ValueError for a length out of range and
        for captions that are not a list of strings.
        """
        length = self.max_length if max_length is None else max_length
        if not _SHORTEST <= length <= self.max_length:
            raise ValueError(
                f"max_length is {length}, but this text encoder takes {_SHORTEST} to {self.max_length} tokens; "
                f"choose a value in that range or leave it out"
            )
        if isinstance(captions, str) or not captions or not all(isinstance(caption, str) for caption in captions):
            raise ValueError(f"captions must be a non-empty list of strings, got {captions!r:.200}")
        batch = self.tokenizer(
            list(captions),
            max_length=length,
            padding="max_length",
            truncation=True,
            return_attention_mask=True,
            return_token_type_ids=False,
        )
        return np.asarray(batch["input_ids"], "int64"), np.asarray(batch["attention_mask"], "int64")

    def __call__(self, input_ids, attention_mask):
        """Token ids and mask (B, L) -> text_embeds (B, L, width), pooled_text_embeds (B, 1, projection_dim).

        The first is the last hidden state before the final layer norm; the second is taken, normed and projected, at
        the first end token of each row. Raises ValueError for ids this model cannot have been given on purpose.
        """
        ids, mask = self._checked_tokens(input_ids, attention_mask)
        # A trainer's autocast must not change what a frozen encoder returns.
        with paddle.no_grad(), paddle.amp.auto_cast(enable=False):
            out = self.model(
                input_ids=paddle.to_tensor(ids),
                attention_mask=paddle.to_tensor(mask),
                output_hidden_states=True,
                return_dict=True,
            )
            return out.hidden_states[-1], out.text_embeds.unsqueeze(1)

    def encode(self, captions):
        """Captions -> (text_embeds, pooled_text_embeds), see `__call__`, at the full length."""
        return self(*self.tokenize(captions))

    def _checked_tokens(self, input_ids, attention_mask):
        ids, mask = (np.asarray(x.numpy() if isinstance(x, paddle.Tensor) else x) for x in (input_ids, attention_mask))
        if ids.ndim != 2 or ids.shape != mask.shape or not 1 <= ids.shape[1] <= self.max_length:
            raise ValueError(
                f"input_ids {ids.shape} and attention_mask {mask.shape} must have the same shape (B, L) "
                f"with L from 1 to {self.max_length}"
            )
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            raise ValueError(f"input_ids span {ids.min()}..{ids.max()}, the vocabulary 0..{self.vocab_size - 1}")
        endless = np.flatnonzero(~(ids == self.tokenizer.eos_token_id).any(axis=1))
        if endless.size:
            raise ValueError(
                f"rows {endless.tolist()} of input_ids lack the end token {self.tokenizer.eos_token_id}, where the "
                f"caption's embedding is taken; tokenize with this encoder's `tokenize`"
            )
        return ids.astype("int64"), mask.astype("int64")


class ImageEncoder:
    """CLIP's image tower, frozen. `image_size` is the side S it takes, `projection_dim` the size of its embedding."""

    def __init__(self, model):
        config = model.config
        self.model = model
        self.image_size = config.image_size
        self.projection_dim = config.projection_dim
        self.dtype = model.vision_projection.dtype

    @classmethod
    def from_folder(cls, image_encoder_dir, dtype="float32"):
        """Read `config.json` and weights of either layout from a folder; errors as in `TextEncoder.from_folder`."""
        from paddlenlp.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        dtype = _checked_dtype(dtype)
        folder = _existing_folder(image_encoder_dir, "image_encoder/")
        fields, whole_clip = _read_config(folder, "vision", _IMAGE_FIELDS)
        config = CLIPVisionConfig(**fields)
        return cls(_load_tower(CLIPVisionModelWithProjection, config, folder, dtype, _NOT_IMAGE if whole_clip else ()))

    def __call__(self, pixels):
        """Images (B, 3, S, S) in [0, 1], already resized and cropped -> (B, 1, projection_dim)."""
        return self.embed_normalised(self.normalise(pixels))

    def normalise(self, pixels):
        """Images (B, 3, S, S) in [0, 1] -> zero mean and unit variance by CLIP's statistics, float32.

        Raises ValueError for another shape and for integers, whose range is 0 to 255.
        """
        pixels = _as_tensor(pixels)
        side = self.image_size
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, side, side):
            raise ValueError(f"pixels have shape {list(pixels.shape)}, this image encoder takes (B, 3, {side}, {side})")
        if not pixels.is_floating_point():
            raise ValueError(f"pixels have dtype {pixels.dtype}; pass floats in [0, 1] (divide bytes by 255)")
        mean, std = (paddle.to_tensor(x, dtype="float32").reshape([1, 3, 1, 1]) for x in (MEAN, STD))
        return (pixels.astype("float32") - mean) / std

    def embed_normalised(self, pixel_values):
        """Normalised images (B, 3, S, S) -> (B, 1, projection_dim)."""
        with paddle.no_grad(), paddle.amp.auto_cast(enable=False):
            out = self.model(pixel_values=_as_tensor(pixel_values).astype(self.dtype), return_dict=True)
            return out.image_embeds.unsqueeze(1)


def _as_tensor(x):
    return x if isinstance(x, paddle.Tensor) else paddle.to_tensor(x)


# ---- folders, config, tokenizer


def _checked_dtype(dtype):
    dtype = str(dtype).removeprefix("paddle.")
    if dtype not in _DTYPES:
        raise ValueError(f"dtype is {dtype!r}, known are {', '.join(_DTYPES)}")
    if dtype != "float32" and paddle.get_device() == "cpu":
        raise ValueError(f"the CPU has no {dtype} kernels for CLIP; use dtype='float32' or a GPU")
    return dtype


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
    # PaddleNLP would ignore another epsilon and fail obscurely on another activation.
    counts = {k: v for k, v in fields.items() if k.endswith(("_size", "_dim", "_layers", "_heads", "_embeddings"))}
    problems = [f"{name} is {value!r}" for name, value in counts.items() if not (isinstance(value, int) and value > 0)]
    if fields.get("hidden_act", "quick_gelu") not in ("gelu", "quick_gelu"):
        problems.append(f"hidden_act is {fields['hidden_act']!r}, known are gelu (exact) and quick_gelu")
    if config.get("layer_norm_eps", 1e-5) != 1e-5:
        problems.append(f"layer_norm_eps is {config['layer_norm_eps']}, only 1e-05 is supported")
    if not problems and fields.get("hidden_size", 0) % fields.get("num_attention_heads", 1):
        problems.append(f"hidden_size {fields['hidden_size']} is no multiple of {fields['num_attention_heads']} heads")
    if problems:
        raise ValueError(f"{path} is unsuitable: {'; '.join(problems)}")
    return fields, whole_clip


def _load_tokenizer(folder):
    from paddlenlp.transformers import CLIPTokenizer

    for name in _TOKENIZER_FILES:
        path = _existing_file(folder / name)
        if path.suffix == ".json":
            _read_json(path)
    # An absolute path, so that a folder's name can never be taken for a model to download.
    return CLIPTokenizer.from_pretrained(str(folder.resolve()))


def _check_tokenizer_fits(tokenizer, config, folder, tokenizer_dir):
    """Ids the model has no embedding for, or an end token it does not look for, would go wrong silently."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise ValueError(
            f"the tokenizer in {tokenizer_dir} has token ids up to {largest}, the model in {folder} only "
            f"{config.vocab_size} tokens: take both from the same release"
        )
    if config.eos_token_id not in (_LEGACY_EOS, tokenizer.eos_token_id):
        raise ValueError(
            f"the tokenizer in {tokenizer_dir} ends a caption with token {tokenizer.eos_token_id}, "
            f"{folder / 'config.json'} says eos_token_id {config.eos_token_id}: take both from the same release"
        )


# ---- weights


def _load_tower(model_class, config, folder, dtype, other_tower):
    """Build the network and fill every parameter from the folder; the names in the file tell the layout."""
    with ExitStack() as stack:
        tensors = {
            name: entry
            for path in _weight_files(folder)
            for name, entry in _tensors_in(path, stack).items()
            # `position_ids` is a constant that old versions of `transformers` saved.
            if not name.endswith(".position_ids") and not name.startswith(other_tower)
        }
        model = _empty_model(model_class, config, dtype)
        parameters = model.state_dict()

        mappings = model_class._get_name_mappings(config)
        from_torch = {m.source_name: (m.target_name, m.action == "transpose") for m in mappings}
        from_paddle = {name: (name, False) for name in parameters}
        key_map = from_paddle if len(tensors.keys() & from_paddle) > len(tensors.keys() & from_torch) else from_torch
        _check_tensors(folder, tensors, key_map, parameters)

        for name, (target, transposed) in key_map.items():
            array = tensors[name][1]()
            array = np.ascontiguousarray(array.T if transposed else array)
            parameters[target].set_value(paddle.to_tensor(array).astype(parameters[target].dtype))
    for parameter in model.parameters():
        parameter.stop_gradient = True
    model.eval()
    return model


def _empty_model(model_class, config, dtype):
    """The network with zeros for weights: drawing random ones for bigG takes longer than reading the file."""
    from paddlenlp.transformers.model_utils import dtype_guard, no_init_weights

    constant = paddle.nn.initializer.Constant(0.0)
    paddle.nn.initializer.set_global_initializer(constant, constant)
    try:
        with dtype_guard(dtype), no_init_weights():
            return model_class(config)
    finally:
        paddle.nn.initializer.set_global_initializer(None, None)


def _check_tensors(folder, tensors, key_map, parameters):
    """Every tensor used, every parameter filled, every shape equal; otherwise one ValueError with all of it."""
    missing = [name for name in key_map if name not in tensors]
    unexpected = sorted(tensors.keys() - key_map)
    misshapen = []
    for name, (target, transposed) in key_map.items():
        shape = tuple(parameters[target].shape)
        shape = shape[::-1] if transposed else shape
        if name in tensors and tensors[name][0] != shape:
            misshapen.append(f"{name} {tensors[name][0]} instead of {shape}")
    problems = [
        f"{len(names)} {kind}: {', '.join(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if problems:
        raise ValueError(f"the weights in {folder} do not match its config.json. Tensors " + ". ".join(problems))


def _weight_files(folder):
    name = next((name for name in _WEIGHT_FILES if (folder / name).is_file()), None)
    if name is None:
        has_bin = (folder / "pytorch_model.bin").is_file()
        hint = " (pytorch_model.bin is not read; save it as safetensors first)" if has_bin else ""
        raise FileNotFoundError(
            f"{folder} has no weights, neither {_WEIGHT_FILES[0]} nor {_WEIGHT_FILES[2]}{hint}: "
            f"{_remedy(f'{folder.name}/{_WEIGHT_FILES[0]}')}"
        )
    path = folder / name
    if path.suffix != ".json":
        return [path]
    parts = _read_json(path).get("weight_map")
    if not isinstance(parts, dict):
        raise ValueError(f"{path} has no weight_map: {_remedy(f'{folder.name}/{name}')}")
    return [_existing_file(folder / part) for part in sorted(set(parts.values()))]


def _tensors_in(path, stack):
    """Name -> (shape, function that reads the tensor as numpy) for one file, which stays open as long as `stack`."""
    if path.suffix == ".safetensors":
        file = stack.enter_context(TensorFile(path))
        return {name: (shape, partial(file.read_numpy, name)) for name, shape in file.shapes.items()}
    try:  # a pickle, so only for files of a trusted origin
        arrays = paddle.load(str(path), return_numpy=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be read ({error}): {_remedy(f'{path.parent.name}/{path.name}')}") from error
    return {name: (array.shape, partial(_unpacked, array)) for name, array in arrays.items()}


def _unpacked(array):
    if array.dtype == np.uint16:  # how Paddle hands bfloat16 to numpy: the upper half of a float32
        return (array.astype("uint32") << 16).view("float32")
    return array
