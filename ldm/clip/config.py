"""The fields of a CLIP tower's config.json: which count, what they may be, and how large a tower they describe."""

from ldm.clip.files import LAYER_NORM_EPS

SHARED_FIELDS = (
    *("hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads"),
    *("hidden_act", "attention_dropout"),
)
TEXT_FIELDS = (
    *SHARED_FIELDS,
    *("vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"),
)
IMAGE_FIELDS = (*SHARED_FIELDS, "num_channels", "image_size", "patch_size")
BOUNDS = {  # of fields by how their names end
    ("_layers",): (1, 1000),
    ("_size", "_dim", "_heads", "_embeddings", "_channels"): (1, 1 << 20),
    ("_token_id",): (0, 1 << 20),
}
SMALL = 1 << 24  # parameters that a tower may have in any case
LEGACY_EOS = 2  # written by old `transformers`; it means "the largest id of the row", that is, the end token


def field_problems(fields):
    """What of a config's fields no tower can be built from, one sentence each; PaddleNLP would fail obscurely."""
    problems = []
    for name, value in fields.items():
        low, high = next((bounds for suffixes, bounds in BOUNDS.items() if name.endswith(suffixes)), (None, None))
        if low is not None and not (type(value) is int and low <= value <= high):
            problems.append(f"{name} is {value!r:.60}, expected an integer from {low} to {high}")
    dropout = fields.get("attention_dropout", 0.0)
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        problems.append(f"attention_dropout is {dropout!r:.60}, expected a number from 0 to below 1")
    if fields.get("hidden_act", "quick_gelu") not in ("gelu", "quick_gelu"):
        problems.append(f"hidden_act is {fields['hidden_act']!r:.60}, known are gelu (exact) and quick_gelu")
    if fields.get("layer_norm_eps", LAYER_NORM_EPS) != LAYER_NORM_EPS:  # PaddleNLP would ignore it
        problems.append(f"layer_norm_eps is {fields['layer_norm_eps']!r:.60}, only {LAYER_NORM_EPS} is supported")
    if not problems and fields.get("hidden_size", 0) % fields.get("num_attention_heads", 1):
        problems.append(f"hidden_size {fields['hidden_size']} is no multiple of {fields['num_attention_heads']} heads")
    if not problems and fields.get("patch_size", 1) > fields.get("image_size", 1 << 20):
        problems.append(f"patch_size {fields['patch_size']} is larger than image_size {fields['image_size']}")
    return problems


def check_size(config, stored: int, where: str, remedy: str):
    """ValueError, which begins with `where`, for a config that describes many more parameters than the `stored` ones.

    Not a check for missing tensors: a file that lacks some passes, one that lacks most does not.
    """
    width, inner = config.hidden_size, config.intermediate_size
    if width % config.num_attention_heads:  # one of them PaddleNLP's default
        raise ValueError(f"{where}: hidden_size {width} is no multiple of {config.num_attention_heads} heads: {remedy}")
    count = config.num_hidden_layers * (4 * width**2 + 2 * width * inner) + width * config.projection_dim
    if hasattr(config, "patch_size"):
        count += width * ((config.image_size // config.patch_size) ** 2 + config.num_channels * config.patch_size**2)
    else:
        count += width * (config.vocab_size + config.max_position_embeddings)
    if count > 2 * stored + SMALL:
        raise ValueError(
            f"{where} describes a tower of at least {count:,} parameters, and the weights beside it have {stored:,}: {remedy}"
        )
