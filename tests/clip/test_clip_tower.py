"""ldm.clip.tower: towers from nothing, and back from the folders they are written to."""

import json

import numpy as np
import paddle
import pytest
from clip_files import TEXT, VISION
from helpers import distance
from safetensors.numpy import load_file

from ldm.clip.folder import load_image_tower, load_text_tower
from ldm.clip.tower import (
    MARK_STD,
    PATCH_PLACE_STD,
    PLACE_STD,
    WORD_STD,
    new_image_tower,
    new_text_tower,
    tower_config,
    write_tower,
)

SIZES = dict(hidden_size=32, intermediate_size=48, projection_dim=24, num_hidden_layers=2, num_attention_heads=4)
TOKENS = dict(vocab_size=600, max_position_embeddings=12, bos_token_id=598, eos_token_id=599, pad_token_id=599)
CONFIGS = {
    "text": {**SIZES, **TOKENS, "hidden_act": "gelu"},
    "image": {**SIZES, "hidden_act": "quick_gelu", "num_channels": 3, "image_size": 24, "patch_size": 8},
}
NEW = {"text": new_text_tower, "image": new_image_tower}
LOAD = {"text": load_text_tower, "image": load_image_tower}
TOWERS = pytest.mark.parametrize("tower", ["text", "image"])


def outputs(tower, model):
    """The embedding and the last hidden state of fixed inputs, as arrays."""
    with paddle.no_grad():
        if tower == "image":
            pixels = np.random.default_rng(0).standard_normal((2, 3, 24, 24)).astype("float32")
            out = model(pixel_values=paddle.to_tensor(pixels), return_dict=True)
            return out.image_embeds.numpy(), out.last_hidden_state.numpy()
        ids = paddle.to_tensor([[598, 5, 300, 7, 599, 599], [598, 80, 599, 599, 599, 599]])
        mask = paddle.to_tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]])
        out = model(input_ids=ids, attention_mask=mask, return_dict=True)
        return out.text_embeds.numpy(), out.last_hidden_state.numpy()


@TOWERS
def test_round_trip_is_exact(tower, tmp_path):
    model = NEW[tower](CONFIGS[tower])
    write_tower(tmp_path, tower, CONFIGS[tower], model.state_dict())
    loaded = LOAD[tower](tmp_path)
    assert tower_config(loaded) == {**CONFIGS[tower], "attention_dropout": 0.0}
    for before, after in zip(outputs(tower, model), outputs(tower, loaded)):
        np.testing.assert_array_equal(before, after)


@TOWERS
def test_numpy_state_gives_the_same_file(tower, tmp_path):
    state = NEW[tower](CONFIGS[tower]).state_dict()
    write_tower(tmp_path / "paddle", tower, CONFIGS[tower], state)
    write_tower(tmp_path / "numpy", tower, CONFIGS[tower], {name: value.numpy() for name, value in state.items()})
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "paddle" / name).read_bytes() == (tmp_path / "numpy" / name).read_bytes()


@TOWERS
def test_half_precision_file(tower, tmp_path):
    model = NEW[tower](CONFIGS[tower])
    write_tower(tmp_path, tower, CONFIGS[tower], model.state_dict(), dtype="float16")
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {np.dtype("float16")}
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
    after = outputs(tower, LOAD[tower](tmp_path))
    assert 0 < distance(after[0], outputs(tower, model)[0]) < 5e-3  # 11 bits per weight


@pytest.mark.parametrize("tower, reference", [("text", TEXT), ("image", VISION)])
def test_writes_what_the_reference_library_wrote(tower, reference, tmp_path):
    """The recorded folders come from `transformers`: loaded and written again, every tensor is the same."""
    model = LOAD[tower](reference)
    write_tower(tmp_path, tower, tower_config(model), model.state_dict())
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path, reference))
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    ours, theirs = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path, reference))
    assert {key: theirs[key] for key in ours} == ours


def expected_std(name, width, layers):
    """Standard deviation of the initial values of one parameter; None: constant."""
    if name.endswith(("_projection", "class_embedding", "out_proj.weight")):
        return width**-0.5
    if name.startswith("text_model") and name.endswith("_embedding.weight"):
        return WORD_STD if "token" in name else PLACE_STD
    if name.endswith("_embedding.weight"):
        return PATCH_PLACE_STD
    if name.endswith("conv1.weight"):
        return 0.02
    if name.endswith("linear1.weight"):
        return (2 * width) ** -0.5
    if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "linear2.weight")):
        return (2 * layers * width) ** -0.5
    return None


@TOWERS
def test_initial_weights(tower):
    model = NEW[tower]({**CONFIGS[tower], "hidden_size": 64, "intermediate_size": 96})
    assert model.training
    for name, parameter in model.named_parameters():
        values, std = parameter.numpy(), expected_std(name, 64, 2)
        assert not parameter.stop_gradient, name
        if name.endswith("token_embedding.weight"):
            marks = sorted({CONFIGS[tower][key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")})
            assert abs(values[marks].std() / MARK_STD - 1) < 5 / np.sqrt(2 * values[marks].size)
            values = np.delete(values, marks, axis=0)
        if std is None:
            assert (values == (0 if name.endswith("bias") else 1)).all(), name
        else:  # of n draws the deviation is known to std / sqrt(2 n); 5 such errors for some 30 parameters
            assert abs(values.std() / std - 1) < 5 / np.sqrt(2 * values.size), name
            assert abs(values.mean()) < 5 * std / np.sqrt(values.size), name


@TOWERS
def test_seed_decides_the_weights(tower):
    def drawn(seed):
        paddle.seed(seed)
        return np.concatenate([p.numpy().ravel() for p in NEW[tower](CONFIGS[tower]).parameters()])

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(
    "tower, changes, message",
    [
        ("text", {"hidden_size": None, "eos_token_id": None}, "hidden_size is missing; eos_token_id is missing"),
        ("text", {"vocab_size": None}, "vocab_size is missing"),
        ("text", {"hiden_act": "gelu"}, "hiden_act is unknown"),
        ("text", {"eos_token_id": 2}, "eos_token_id 2 means the largest id"),
        ("text", {"eos_token_id": 600}, "eos_token_id is 600.*0 to 599"),
        ("text", {"num_attention_heads": 5}, "no multiple of 5 heads"),
        ("text", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("text", {"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06"),
        ("text", {"model_type": "clip_vision_model"}, "'clip_vision_model', not 'clip_text_model'"),
        ("image", {"image_size": 30}, "image_size 30 is no multiple of patch_size 8"),
        ("image", {"num_channels": 1}, "num_channels is 1"),
        ("image", {"num_hidden_layers": [3, 4]}, r"num_hidden_layers is \[3, 4\]"),
        ("image", {"vocab_size": 5}, "vocab_size is unknown"),
    ],
)
def test_unsuitable_configs(tower, changes, message, tmp_path):
    config = {name: value for name, value in {**CONFIGS[tower], **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=f"{tower} tower.*{message}"):
        NEW[tower](config)
    with pytest.raises(ValueError, match=message):
        write_tower(tmp_path, tower, config, {})


def test_wrong_state_is_refused_and_writes_nothing(tmp_path):
    config = CONFIGS["text"]
    state = dict(new_text_tower(config).state_dict())
    write_tower(tmp_path, "text", config, state)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    state["extra"] = state.pop("text_projection").T
    state["text_model.ln_final.weight"] = np.zeros(3, "float32")
    with pytest.raises(ValueError) as error:
        write_tower(tmp_path, "text", config, state)
    expected = (
        "1 missing: text_projection",
        "1 unexpected: extra",
        r"text_model.ln_final.weight (3,), expected (32,)",
    )
    assert all(part in str(error.value) for part in expected)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_unknown_towers_and_dtypes(tmp_path):
    with pytest.raises(ValueError, match="tower is 'vision'; choose 'text' or 'image'"):
        write_tower(tmp_path, "vision", CONFIGS["image"], {})
    with pytest.raises(ValueError, match="int8"):
        write_tower(tmp_path, "image", CONFIGS["image"], {}, dtype="int8")
