"""A LoRA belongs to the prior that it names, in any precision."""

import convert_lora
import numpy as np
import paddle
import pytest
from checkpoints import edit, metadata
from safetensors.numpy import load_file, save_file
from test_lora_files import random_lora

from ldm.adapters.base import BASE_KEY, ROUNDED_KEY, base_notes, check_base
from ldm.adapters.files import (
    LoraFile,
    TokenUpdate,
    read_lora,
    write_lora,
)
from ldm.weights.convert import convert_file
from ldm.weights.fingerprint import PRECISIONS, fingerprint_in, heads_of_file, heads_of_state, state_fingerprint
from ldm.weights.release import load_network


def trained_on(path, network, prior, tokens=None):
    """A LoRA file that says it was trained on the file `prior`."""
    lora = random_lora(network, (".attn",), tokens=tokens)
    notes = {**lora.notes, **base_notes(heads_of_file(prior, network, "stage_c"))}
    write_lora(path, LoraFile(lora.updates, lora.tokens, notes), network)
    return path


def changed(prior, path):
    """Another prior of the same size."""
    path.write_bytes(prior.read_bytes())
    edit(path, lambda tensors: tensors.update({"clf.1.bias": tensors["clf.1.bias"] + 1}))
    return path


@pytest.mark.parametrize("layout", ["official", "ours"])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_files_fingerprints_are_those_of_its_weights(network, prior, tmp_path, layout, dtype):
    path = tmp_path / "converted.safetensors"
    convert_file(prior, path, network, "stage_c", dtype, to_release=layout == "official")
    of_file, of_prior = heads_of_file(path, network, "stage_c"), heads_of_file(prior, network, "stage_c")
    assert fingerprint_in(of_file, "float32") == state_fingerprint(load_network(path, "stage_c").state_dict())
    assert fingerprint_in(of_file, "float32") == fingerprint_in(of_prior, dtype)
    in_dtype = {
        key: tensor.astype(dtype).astype("float32")
        for key, tensor in load_network(prior, "stage_c").state_dict().items()
    }
    assert fingerprint_in(heads_of_state(in_dtype), "float32") == fingerprint_in(of_prior, dtype)


@pytest.mark.parametrize("trained", PRECISIONS)
@pytest.mark.parametrize("used", PRECISIONS)
def test_the_same_prior_in_another_precision_is_taken(network, prior, tmp_path, trained, used):
    """From one original: a half precision of the other half precision is a third set of weights."""
    paths = {}
    for dtype in {trained, used}:
        paths[dtype] = tmp_path / f"{dtype}.safetensors"
        convert_file(prior, paths[dtype], network, "stage_c", dtype, to_release=True)
    path = trained_on(tmp_path / "lora.safetensors", network, paths[trained])
    if {trained, used} == {"float16", "bfloat16"}:
        with pytest.raises(ValueError, match="was trained on another prior"):
            check_base(read_lora(path, network), path, paths[used], network)
    else:
        check_base(read_lora(path, network), path, paths[used], network)


def test_another_prior_is_refused_everywhere_and_the_remedy_works(network, prior, tmp_path, capsys):
    path, other = (
        trained_on(tmp_path / "lora.safetensors", network, prior),
        changed(prior, tmp_path / "other.safetensors"),
    )
    merged, anew = tmp_path / "merged.safetensors", tmp_path / "anew.safetensors"
    merge = ["--lora", str(path), "--merge_into", str(other), "--output", str(merged)]
    assert convert_lora.main(merge) == 2
    err = capsys.readouterr().err
    assert f"{path} was trained on another prior" in err and f"than {other}" in err and "--any_prior" in err
    assert (
        convert_lora.main(["--lora", str(path), "--prior", str(other), "--layout", "named", "--output", str(anew)]) == 2
    )
    assert not merged.exists() and not anew.exists()
    merge[3] = str(prior)
    assert convert_lora.main(merge) == 0

    assert convert_lora.main(["--lora", str(path), "--layout", "named", "--output", str(anew), "--any_prior"]) == 0
    assert not {BASE_KEY, ROUNDED_KEY} & set(metadata(anew))
    assert convert_lora.main(["--lora", str(anew), "--merge_into", str(other), "--output", str(merged)]) == 0
    assert (
        convert_lora.main(["--lora", str(anew), "--merge_into", str(other), "--output", str(merged), "--any_prior"])
        == 2
    )


def test_files_of_earlier_versions_name_one_precision(network, prior, tmp_path):
    path = trained_on(tmp_path / "lora.safetensors", network, prior)
    notes = {key: value for key, value in metadata(path).items() if key != ROUNDED_KEY}
    save_file(load_file(path), path, metadata=notes)
    check_base(read_lora(path, network), path, prior, network)
    with pytest.raises(ValueError, match="another prior"):
        check_base(read_lora(path, network), path, changed(prior, tmp_path / "other.safetensors"), network)


def test_tokens_alone_go_with_any_prior(network, prior, tmp_path):
    tokens = TokenUpdate(np.array([5]), np.ones((1, 12), "f4"), ("^fox",))
    lora = LoraFile({}, tokens, base_notes(heads_of_file(prior, network, "stage_c")))
    check_base(lora, "x", changed(prior, tmp_path / "other.safetensors"), network)


@pytest.mark.parametrize("value", ["x", "0" * 63, "F" * 64, "0" * 64 + "\n", " ".join(["0" * 64] * 3)])
def test_an_invalid_fingerprint(network, prior, tmp_path, value):
    path = trained_on(tmp_path / "lora.safetensors", network, prior)
    save_file(load_file(path), path, metadata={**metadata(path), BASE_KEY: value})
    with pytest.raises(ValueError, match=f"lora.safetensors: the metadata's '{BASE_KEY}' is ") as error:
        check_base(read_lora(path, network), path, prior, network)
    assert "\n" not in str(error.value)


def test_loading_checks_the_prior_even_after_another_lora(rule_release, tmp_path):
    from ldm.model_c import ModelC

    model = ModelC(str(rule_release), dtype="float32")
    path, plain = tmp_path / "lora.safetensors", tmp_path / "plain.safetensors"
    trained_on(path, model.unet, model.unet_path)
    write_lora(plain, random_lora(model.unet, (".attn",)), model.unet)
    model.load_lora(plain, 0.1)  # the network's own weights are others now, its file is not
    model.load_lora(path, 0.1)
    save_file(load_file(path), path, metadata={**metadata(path), BASE_KEY: "0" * 64, ROUNDED_KEY: ""})
    before = {key: value.numpy() for key, value in model.unet.state_dict().items()}
    with pytest.raises(ValueError, match="was trained on another prior"):
        model.load_lora(path, 0.1)
    assert all(np.array_equal(before[key], value.numpy()) for key, value in model.unet.state_dict().items())
    assert paddle.is_grad_enabled()
