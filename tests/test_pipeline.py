"""StableCascade and its stages: seeds, sizes, batch mates, shared towers."""

import numpy as np
import pytest

from ldm.conditions import encode_captions
from ldm.model_b import ModelB
from ldm.model_c import ModelC
from ldm.pipeline import GenerationSettings, StableCascade


@pytest.fixture(scope="module")
def cascade(rule_release):
    return StableCascade(rule_release)


def sample(cascade, captions, seeds, **options):
    return cascade.prior.sample(captions, 256, 256, seeds=seeds, steps=3, progress=False, **options).numpy()


def test_an_image_does_not_depend_on_its_batch_mates(cascade):
    together = sample(cascade, ["a fox", "a boat", "a tree"], [7, 8, 9])
    for index, (caption, seed) in enumerate([("a fox", 7), ("a boat", 8), ("a tree", 9)]):
        alone = sample(cascade, [caption], [seed])
        error = np.linalg.norm(alone[0] - together[index]) / np.linalg.norm(alone[0])
        assert error < 1e-5  # float32 products of another batch size round differently


def test_seed_and_caption_decide(cascade):
    base = sample(cascade, ["a fox"], [7])
    assert np.array_equal(base, sample(cascade, ["a fox"], [7]))
    for other in (
        sample(cascade, ["a fox"], [8]),
        sample(cascade, ["a boat"], [7]),
        sample(cascade, ["a fox"], [7], cfg=1.0),
    ):
        assert np.linalg.norm(base - other) / np.linalg.norm(base) > 1e-3


@pytest.mark.parametrize("height, width", [(256, 256), (257, 300), (320, 272), (260, 391)])
def test_exactly_the_size_asked_for(cascade, height, width):
    settings = GenerationSettings(height=height, width=width, steps=1, decoder_steps=1)
    images = cascade("a fox", 1, settings, progress=False)
    assert images.shape == (1, height, width, 3) and images.dtype == np.uint8


def test_log_image_keeps_its_known_signature(cascade):
    previews, latent = cascade.prior.log_image("a fox", 256, 256, 4.0, 2, 1, 2)
    assert previews.dtype == np.uint8 and previews.shape == (2, 48, 48, 3) and latent.shape == [2, 16, 6, 6]
    images, latent_b = cascade.decoder.log_image(latent, "a fox", steps=1)
    assert images.dtype == np.uint8 and images.shape == (2, 256, 256, 3) and latent_b.shape == [2, 4, 64, 64]
    assert not cascade.prior.unet.training


def test_one_text_tower_is_shared_and_no_frozen_weight_is_saved(cascade):
    assert cascade.prior.frozen is cascade.decoder.frozen
    for stage in (cascade.prior, cascade.decoder):
        assert all(key.startswith("unet.") for key in stage.state_dict())


def test_each_different_caption_is_encoded_once(cascade, monkeypatch):
    settings = GenerationSettings(height=256, width=256, steps=1, decoder_steps=1)
    captions = ["a fox", "a boat", "a fox"]
    expected = cascade(captions, 3, settings, progress=False)
    text, seen = cascade.frozen.text, []
    encode = text.encode
    monkeypatch.setattr(text, "encode", lambda captions: seen.append(list(captions)) or encode(captions))
    assert np.array_equal(cascade(captions, 3, settings, progress=False), expected)
    assert seen == [["a fox", "a boat"], [""]]

    encoded = encode_captions(cascade.frozen, captions)
    states, pooled = encode(captions)
    assert len(encoded) == 3 and encode_captions(cascade.frozen, encoded) is encoded
    for ours, expected in ((encoded.text_embeds, states), (encoded.pooled, pooled)):
        # A batch of another size rounds differently
        assert ours.shape == expected.shape and np.abs(ours.numpy() - expected.numpy()).max() < 1e-5
    nothing = encoded.unconditional()
    assert np.array_equal(nothing.pooled[2].numpy(), encode([""])[1][0].numpy()) and len(nothing) == 3


def test_constructed_without_arguments_they_read_config(rule_release, monkeypatch):
    from ldm import config

    monkeypatch.setattr(config, "WEIGHTS_PATH", str(rule_release))
    prior, decoder = ModelC(), ModelB()
    assert prior.unet_path == rule_release / "stage_c_lite.safetensors"
    assert decoder.unet_path == rule_release / "stage_b_lite.safetensors"


def test_encode_then_decode_shapes(cascade):
    import paddle

    images = paddle.rand([1, 3, 96, 128])
    assert cascade.prior.encode(images).shape == [1, 16, 3, 4]
    latent = cascade.decoder.encode(images)
    assert latent.shape == [1, 4, 24, 32]
    assert cascade.decoder.decode(latent).shape == [1, 3, 96, 128]


def write_lora_of(cascade, path, tokens=None):
    """A LoRA file with random numbers for the attention of a cascade's prior."""
    from ldm.adapters.files import LoraFile, write_lora
    from ldm.adapters.layouts import LowRankUpdate
    from ldm.adapters.lora import find_targets

    generator, updates = np.random.default_rng(0), {}
    for target in find_targets(cascade.prior.unet):
        c_in, c_out = target.weight.shape
        down, up = (generator.standard_normal(shape).astype("float32") * 0.3 for shape in ((2, c_in), (c_out, 2)))
        updates[target.key] = LowRankUpdate(down, up, 2.0)
    write_lora(path, LoraFile(updates, tokens, {"output_size": "320"}), cascade.prior.unet)
    return path


def test_a_lora_is_merged_by_strength_and_taken_out_again(rule_release, tmp_path):
    from ldm.adapters.files import TokenUpdate

    cascade, captions = StableCascade(rule_release), ["a [fox] x"]
    plain, weights = sample(cascade, captions, [7]), cascade.prior.unet.state_dict()["clip_txt_mapper.weight"].numpy()
    vocabulary = cascade.prior.frozen.text.vocab_size
    change = np.random.default_rng(0).standard_normal((1, cascade.prior.frozen.text.width)).astype("float32")
    tokens = TokenUpdate(np.array([vocabulary]), change, ("[fox]:^f$|^o$",))
    path = write_lora_of(cascade, tmp_path / "lora.safetensors", tokens)
    results = {}
    for scale in (1.0, 0.5, 0.0):
        cascade.load_lora(path, scale)
        results[scale] = sample(cascade, captions, [7])
        assert cascade.identity()["lora"] == [f"{path} x {scale:g}"]
        text = cascade.decoder.frozen.text
        assert text is cascade.prior.frozen.text and text.vocab_size == vocabulary + 1
        row = text.model.get_input_embeddings().weight.numpy()
        letters = [text.tokenizer.get_vocab()[letter] for letter in "fo"]
        assert np.allclose(row[-1], row[letters].mean(axis=0) + scale * change, atol=1e-6)
        cascade.unload_loras()
        assert "lora" not in cascade.identity()
        assert np.array_equal(sample(cascade, captions, [7]), plain)
    assert np.array_equal(weights, cascade.prior.unet.state_dict()["clip_txt_mapper.weight"].numpy())
    for first, second in ((1.0, 0.5), (0.5, 0.0)):
        assert np.linalg.norm(results[first] - results[second]) / np.linalg.norm(plain) > 1e-3


def test_two_loras_add_up_and_two_tokens_of_a_name_do_not(rule_release, tmp_path):
    from ldm.adapters.files import TokenUpdate

    cascade = StableCascade(rule_release)
    width, vocabulary = cascade.prior.frozen.text.width, cascade.prior.frozen.text.vocab_size
    tokens = TokenUpdate(np.array([vocabulary]), np.ones((1, width), "float32"), ("[fox]:^f$",))
    path = write_lora_of(cascade, tmp_path / "lora.safetensors", tokens)
    plain = write_lora_of(cascade, tmp_path / "plain.safetensors")
    cascade.load_lora(path, 0.5)
    cascade.load_lora(plain, 0.5)
    together = sample(cascade, ["a boat"], [7])
    weights = {key: value.numpy().copy() for key, value in cascade.prior.unet.state_dict().items()}
    with pytest.raises(ValueError, match=r"\[fox\] exists already"):
        cascade.load_lora(path)
    for key, value in cascade.prior.unet.state_dict().items():
        assert np.array_equal(value.numpy(), weights[key]), key  # nothing of a refused file is merged
    cascade.unload_loras()
    cascade.load_lora(path)
    once = sample(cascade, ["a boat"], [7])
    assert np.linalg.norm(once - together) / np.linalg.norm(once) < 1e-5


def test_low_memory_gives_the_same_images_with_one_network_at_a_time(cascade, rule_release, monkeypatch, tmp_path):
    import weakref

    from ldm import pipeline

    settings = GenerationSettings(height=256, width=256, steps=2, decoder_steps=1)
    captions = ["a fox", "a boat"]
    expected = [cascade(caption, 2, settings, progress=False) for caption in captions]

    sparing, alive = StableCascade(rule_release, low_memory=True), []

    def watched(build, name):
        def builder():
            others = [other for reference, other in alive if reference() is not None]
            assert others == [], f"{others} are in memory beside {name}"
            stage = build()
            alive.append((weakref.ref(stage.unet), name))
            return stage

        return builder

    for name, build in sparing._builders.items():
        sparing._builders[name] = watched(build, name)
    encode = pipeline.checked_captions

    def encode_watched(frozen, captions, loras):
        encoded = encode(frozen, captions, loras)
        if not any(name == "text" for _, name in alive):
            alive.append((weakref.ref(frozen.text.model), "text"))
        return encoded

    monkeypatch.setattr(pipeline, "checked_captions", encode_watched)
    images = list(sparing.each(captions, 2, settings, progress=False))
    assert [name for _, name in alive] == ["text", "prior", "decoder"]  # each read once for both captions
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(images, expected, strict=True))
    sparing.compile(tmp_path)
    del alive[:]
    again = sparing(captions[0], 2, settings, progress=False)
    assert np.abs(again.astype(int) - expected[0]).max() <= 2 and sparing.describe().endswith("compiled, low memory")
    assert {**sparing.identity()} == {**cascade.identity()}


def test_low_memory_refuses_a_lora(rule_release, tmp_path):
    with pytest.raises(ValueError, match="does not go with low_memory"):
        StableCascade(rule_release, low_memory=True).load_lora(tmp_path / "lora.safetensors")


def test_describe_counts_the_weights_in_use(cascade):
    import math

    for name, stage in (("prior", cascade.prior), ("decoder", cascade.decoder)):
        count = sum(math.prod(parameter.shape) for parameter in stage.unet.parameters())
        assert f"{name} {cascade.paths[name]} ({count / 1e6:,.1f}M)" in cascade.describe()
