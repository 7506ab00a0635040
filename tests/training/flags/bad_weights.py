"""Cases of wrong weights."""

import shutil

import numpy as np
from bad_inputs import case
from safetensors.numpy import load_file, save_file

PRIOR, DECODER, ENCODER = "stage_c_lite.safetensors", "stage_b_lite.safetensors", "effnet_encoder.safetensors"


@case("weights", "weights does not exist", "Download")
def no_weights(inputs):
    """The weights folder does not exist"""
    shutil.rmtree(inputs.weights)


@case("weights", "stage_c_lite.safetensors", "it has")
def no_prior(inputs):
    """The release lacks the prior"""
    (inputs.weights / PRIOR).unlink()


@case("weights", "'2B'", "choose one of")
def unknown_version(inputs):
    """--model_version is no size of the prior"""
    return ["--model_version", "2B"]


@case("weights", PRIOR, "download or write it again")
def prior_cut_off(inputs):
    """The prior's file is cut off"""
    path = inputs.own(PRIOR)
    path.write_bytes(path.read_bytes()[:200_000])


@case("weights", DECODER, "holds stage_b, not stage_c", "give the file of a stage_c")
def decoder_as_prior(inputs):
    """--unet_path is a decoder"""
    return ["--unet_path", str(inputs.weights / DECODER)]


@case("weights", "lora.safetensors", "none of the cascade's networks", "Give a file of the release")
def lora_as_prior(inputs):
    """--unet_path is a LoRA file"""
    path = inputs.folder / "lora.safetensors"
    save_file({"weights.0.lora_up": np.zeros((4, 2), np.float32)}, path)
    return ["--unet_path", str(path)]


@case("weights", PRIOR, "clip_img_mapper.weight")
def prior_lacks_a_tensor(inputs):
    """The prior's file lacks a tensor"""
    inputs.rewrite(PRIOR, lambda tensors: tensors.pop("clip_img_mapper.weight"))


@case("weights", PRIOR, "clip_txt_mapper.weight")
def prior_of_other_shapes(inputs):
    """A tensor of the prior has another shape"""

    def change(tensors):
        tensors["clip_txt_mapper.weight"] = np.zeros((64, 48), np.float32)

    inputs.rewrite(PRIOR, change)


@case("weights", f"{PRIOR}: clip_txt_mapper.weight is not finite", "download or convert it again")
def prior_with_nan(inputs):
    """A weight of the prior is NaN"""

    def change(tensors):
        tensors["clip_txt_mapper.weight"][0, 0] = np.nan

    inputs.rewrite(PRIOR, change)


@case(
    "weights", "text_encoder/model.safetensors: text_projection.weight", "is not finite", "download or convert it again"
)
def text_tower_with_nan(inputs):
    """A weight of CLIP's text tower is NaN"""
    path = inputs.own("text_encoder") / "model.safetensors"
    tensors = load_file(path)
    tensors["text_projection.weight"][0, 0] = np.nan
    save_file(tensors, path, {"format": "pt"})


@case("weights", ENCODER, "the right encoder gives about 0 and 1", "scripts/standardise_encoder.py")
def encoder_of_another_kind(inputs):
    """The encoder's latents are not standardised"""
    inputs.rewrite(ENCODER, lambda tensors: None, metadata={"config": "{}"})


@case("weights", "tokenizer")
def no_tokenizer(inputs):
    """The release lacks the tokenizer"""
    (inputs.weights / "tokenizer").unlink()


@case("weights", "config.json")
def text_encoder_without_config(inputs):
    """The text encoder lacks its config.json"""
    (inputs.own("text_encoder") / "config.json").unlink()
