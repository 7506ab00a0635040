"""LoRA files: both layouts and the way between them, tokens, strengths, and every kind of wrong file."""

import json

import convert_lora
import numpy as np
import pytest
from checkpoints import CONFIGS, edit, metadata, unfilled, write_official
from helpers import REFERENCE, distance
from safetensors.numpy import load_file, save_file

from ldm.adapters.convert import read_for
from ldm.adapters.files import LoraFile, TokenUpdate, merge_into, read_lora, write_lora
from ldm.adapters.layouts import LowRankUpdate
from ldm.adapters.lora import find_targets
from ldm.weights.plan import WeightsMismatch
from ldm.weights.release import build_unfilled, load_network

FILTERS = (".attn", "embedding", "mapper")


@pytest.fixture
def network():
    return unfilled("stage_c")


def random_lora(network, filters=FILTERS, rank=3, alpha=1.0, tokens=None):
    generator = np.random.default_rng(0)
    updates = {}
    for target in find_targets(network, filters):
        c_in, c_out = target.weight.shape
        down, up = generator.standard_normal((rank, c_in)), generator.standard_normal((c_out, rank))
        updates[target.key] = LowRankUpdate(down.astype("float32"), up.astype("float32"), alpha)
    return LoraFile(updates, tokens, {"config": json.dumps(CONFIGS["stage_c"])})


def same(first: LoraFile, second: LoraFile, bound=0.0):
    assert set(first.updates) == set(second.updates)
    for key, update in first.updates.items():
        assert distance(second.updates[key].delta, update.delta) <= bound, key
    return True


@pytest.mark.parametrize("layout", ["positional", "named"])
def test_what_is_written_is_read(network, tmp_path, layout):
    tokens = TokenUpdate(np.array([5, 700]), np.random.randn(2, 12).astype("float32"), ("[house]:house", "^fox"))
    lora = random_lora(network, tokens=tokens)
    write_lora(tmp_path / "lora.safetensors", lora, network, layout, FILTERS)
    read = read_lora(tmp_path / "lora.safetensors", network)
    assert same(lora, read) and read.tokens.specs == tokens.specs
    assert np.array_equal(read.tokens.indices, tokens.indices)
    assert np.array_equal(read.tokens.embeddings, tokens.embeddings)
    notes = metadata(tmp_path / "lora.safetensors")
    assert notes["rank"] == "3" and notes["lora_layout"] == layout and json.loads(notes["filters"]) == list(FILTERS)


def test_names_are_those_other_tools_look_for(network, tmp_path):
    path = tmp_path / "lora.safetensors"
    lora = random_lora(network, rank=2, alpha=4.0)
    write_lora(path, lora, network, "named", FILTERS)
    tensors = load_file(path)
    start = "lora_prior_unet_down_blocks_0_2_attention_attn_to_q"
    assert tensors[f"{start}.lora_down.weight"].shape == (2, 16) and tensors[f"{start}.lora_up.weight"].shape == (16, 2)
    assert tensors[f"{start}.alpha"] == 4 and "lora_prior_unet_down_blocks_0_2_attention_attn_out_proj.alpha" in tensors
    assert tensors["lora_prior_unet_embedding_1.lora_up.weight"].shape == (16, 2, 1, 1)  # a 1x1 convolution elsewhere
    # Query, key and value share `down` and divide `up`
    update, thirds = lora.updates["down_blocks.0.2.attention.attn.in_proj_weight"], []
    for part in "qkv":
        stem = f"{start[:-1]}{part}"
        assert np.array_equal(tensors[f"{stem}.lora_down.weight"], update.down)
        thirds.append(tensors[f"{stem}.lora_up.weight"])
    assert np.array_equal(np.concatenate(thirds), update.up)


def test_apart_trained_query_and_value_are_fused_exactly(network, tmp_path):
    """Other tools train query, key and value apart, or some of them, with strengths of their own."""
    stem, generator = "lora_unet_up_blocks_0_2_attention", np.random.default_rng(0)
    tensors, expected = {}, np.zeros((32, 96), np.float32)
    for name, third, rank, alpha in (("to_q", 0, 2, 1.0), ("to_v", 2, 4, None)):
        down, up = (generator.standard_normal(shape).astype("float32") for shape in ((rank, 32), (32, rank)))
        tensors |= {f"{stem}_{name}.lora_down.weight": down, f"{stem}_{name}.lora_up.weight": up}
        if alpha is not None:
            tensors[f"{stem}_{name}.alpha"] = np.asarray(alpha, np.float32)
        expected[:, 32 * third : 32 * (third + 1)] = (up @ down).T * (alpha / rank if alpha else 1.0)
    save_file(tensors, tmp_path / "lora.safetensors")
    read = read_lora(tmp_path / "lora.safetensors", network)
    [(key, update)] = read.updates.items()
    assert key == "up_blocks.0.2.attention.attn.in_proj_weight" and distance(update.delta, expected) < 1e-6
    # and the positional layout holds it with the same effect: padded, its strength in lora_up
    write_lora(tmp_path / "positional.safetensors", read, network, "positional")
    again = read_lora(tmp_path / "positional.safetensors", network)
    assert distance(again.updates[key].delta, expected) < 1e-6
    assert not any(update.delta.any() for other, update in again.updates.items() if other != key)


def test_the_recorded_file_of_the_release_is_read_and_written_back(tmp_path):
    recorded = load_file(REFERENCE / "lora_stage_c_tiny.safetensors")
    tensors = {key.removeprefix("lora."): value for key, value in recorded.items() if key.startswith("lora.")}
    save_file(tensors, tmp_path / "lora.safetensors")
    config = json.loads(metadata(REFERENCE / "stage_c_tiny.safetensors")["config"])
    weights = load_file(REFERENCE / "stage_c_tiny.safetensors")
    prior = {key.removeprefix("weights."): value for key, value in weights.items() if key.startswith("weights.")}
    arguments = {key: value for key, value in config.items() if key not in ("weights", "salt", "note")}
    save_file(prior, tmp_path / "prior.safetensors", metadata={"config": json.dumps(arguments)})
    for layout, source in (("named", "lora"), ("positional", "named")):
        flags = ["--lora", f"{tmp_path}/{source}.safetensors", "--output", f"{tmp_path}/{layout}.safetensors"]
        assert convert_lora.main([*flags, "--layout", layout, "--prior", f"{tmp_path}/prior.safetensors"]) == 0
    back = load_file(tmp_path / "positional.safetensors")
    assert set(back) == set(tensors) and all(np.array_equal(back[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_merging_into_a_file_is_merging_into_its_network(network, tmp_path, scale):
    prior = write_official(tmp_path / "prior.safetensors", "stage_c")
    lora = random_lora(network)
    write_lora(tmp_path / "lora.safetensors", lora, network, "positional", FILTERS)
    files = {
        "--lora": tmp_path / "lora.safetensors",
        "--merge_into": prior,
        "--output": tmp_path / "merged.safetensors",
    }
    flags = [str(word) for pair in files.items() for word in pair]
    assert convert_lora.main([*flags, "--scale", str(scale)]) == 0
    merged, expected = load_network(tmp_path / "merged.safetensors", "stage_c"), load_network(prior, "stage_c")
    merge_into(expected, lora.updates, scale)
    for key, value in expected.state_dict().items():
        assert distance(merged.state_dict()[key], value) < 1e-7, key
    assert "layout" not in metadata(tmp_path / "merged.safetensors")  # official in, official out


def write(network, path, layout="positional", filters=FILTERS, **options):
    write_lora(path, random_lora(network, filters, **options), network, layout, filters)
    return path


@pytest.mark.parametrize(
    "layout, change, message",
    [
        ("positional", lambda t: t.pop("weights.1.lora_up"), "1 missing: weights.1.lora_up"),
        ("positional", lambda t: t.update({"weights.99.lora_up": np.ones((2, 2), "f4")}), "unexpected: weights.99.lora_up"),
        ("positional", lambda t: t.update({"weights.0.lora_down": np.ones((3, 5), "f4")}), r"weights.0.lora_down \(3, 5\)"),
        ("named", lambda t: t.pop("lora_prior_unet_embedding_1.lora_up.weight"), "missing: lora_prior_unet_embedding_1"),
        ("named", lambda t: t.update({"lora_prior_te_x.alpha": np.ones((), "f4")}), "unexpected: lora_prior_te_x.alpha"),
        ("named", lambda t: t.update({"lora_prior_unet_embedding_1.dora_scale": np.ones(3, "f4")}), "dora_scale"),
        ("named", lambda t: t.update({"lora_prior_unet_embedding_1.lora_up.weight": np.ones((9, 3, 1, 1), "f4")}), "9, 3"),
        ("positional", lambda t: t.update({"embeddings.indices": np.ones(2, "i8")}), "missing: embeddings.embeddings"),
        ("positional", lambda t: (t.clear(), t.update({"conv.weight": np.ones(2, "f4")})), "is no LoRA of Stable Cascade"),
    ],
)  # fmt: skip
def test_wrong_files_name_their_keys(network, tmp_path, layout, change, message):
    path = write(network, tmp_path / "lora.safetensors", layout)
    edit(path, change)
    with pytest.raises(ValueError, match=message):
        read_lora(path, network)


def test_an_empty_file_is_no_lora(network, tmp_path):
    write_lora(tmp_path / "lora.safetensors", LoraFile({}), network)
    with pytest.raises(ValueError, match="is empty"):
        read_lora(tmp_path / "lora.safetensors", network)


def test_a_lora_of_another_size_is_refused(network, tmp_path):
    path = write(network, tmp_path / "lora.safetensors")
    wider = build_unfilled("stage_c", {**CONFIGS["stage_c"], "c_hidden": [24, 32]})
    with pytest.raises(WeightsMismatch, match=r"weights.3.lora_up \(16, 3\), expected \(24, 3\)"):
        read_lora(path, wider)
    longer = build_unfilled("stage_c", {**CONFIGS["stage_c"], "blocks": [[1, 3], [2, 1]]})
    with pytest.raises(WeightsMismatch, match="missing"):
        read_lora(path, longer)


def test_a_file_without_notes_finds_its_released_size_or_says_what_to_do(network, tmp_path):
    path = write(network, tmp_path / "lora.safetensors", filters=(".attn",))
    save_file(load_file(path), path)
    with pytest.raises(WeightsMismatch, match="--prior"):
        read_for(path)
    [down, up] = np.zeros((1, 1536), "f4"), np.zeros((4608, 1), "f4")
    stem = "lora_prior_unet_down_blocks_1_5_attention_attn_to_k"
    save_file({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up[:1536]}, path)
    _, lora = read_for(path)
    assert json.loads(lora.notes["config"])["c_cond"] == 1536


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "Give either --layout"),
        (["--layout", "named", "--merge_into", "x"], "Give either --layout"),
        (["--layout", "named", "--scale", "2"], "--scale is for --merge_into"),
        (["--layout", "positional", "--filter", "nothing"], "nothing match no Linear"),
        (["--merge_into", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["--layout", "positional", "--filter", "embedding"], "weights.1.lora_down"),
        (["--layout", "named", "--tokens", "[fox]:^f"], "holds no learned tokens"),
    ],
)
def test_refused_options(network, tmp_path, capsys, flags, message):
    path = write(network, tmp_path / "lora.safetensors")
    assert convert_lora.main(["--lora", str(path), "--output", str(tmp_path / "out.safetensors"), *flags]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out.safetensors").exists()
