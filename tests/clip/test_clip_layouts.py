"""ldm.clip.folder: every layout and format that weights come in."""

import json
import socket

import numpy as np
import paddle
import pytest
from clip_files import TEXT, VISION, edit_weights, same
from helpers import distance
from safetensors.numpy import load_file, save_file

from ldm.clip.encoders import ImageEncoder, TextEncoder


@pytest.mark.parametrize("shard", [None, "200KB"])
def test_paddle_layout_round_trip(text, image, tokenizer_dir, tmp_path, shard):
    options = {"safe_serialization": True, **({"max_shard_size": shard} if shard else {})}
    text.model.save_pretrained(str(tmp_path / "text"), **options)
    image.model.save_pretrained(str(tmp_path / "image"), **options)
    captions, pixels = ["a cat", "dogs"], paddle.rand([2, 3, 32, 32])
    assert same(TextEncoder.from_folder(tmp_path / "text", tokenizer_dir).encode(captions), text.encode(captions))
    np.testing.assert_array_equal(ImageEncoder.from_folder(tmp_path / "image")(pixels), image(pixels))


@pytest.mark.parametrize("metadata", [{}, {"format": "np"}, {"format": "pd"}])
def test_names_and_not_metadata_tell_the_layout(text, text_dir, tokenizer_dir, metadata):
    edit_weights(text_dir, lambda tensors: None, **metadata)
    assert same(TextEncoder.from_folder(text_dir, tokenizer_dir).encode(["a cat"]), text.encode(["a cat"]))


def test_half_precision_files_are_read_as_float32(text, text_dir, tokenizer_dir):
    edit_weights(text_dir, lambda tensors: tensors.update({k: v.astype("float16") for k, v in tensors.items()}))
    out = TextEncoder.from_folder(text_dir, tokenizer_dir).encode(["a cat"])
    assert all(x.dtype == paddle.float32 for x in out)
    assert distance(out[1], text.encode(["a cat"])[1]) < 5e-3  # 11 bits per weight


def test_bfloat16_files_are_read_as_float32(text, text_dir, tokenizer_dir):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    path = text_dir / "model.safetensors"
    tensors = {key: torch.from_numpy(value).bfloat16() for key, value in load_file(path).items()}
    path.unlink()
    save_torch(tensors, text_dir / "model.bf16.safetensors", metadata={"format": "pt"})  # the release's name for it
    from_torch = TextEncoder.from_folder(text_dir, tokenizer_dir)
    assert distance(from_torch.encode(["a cat"])[1], text.encode(["a cat"])[1]) < 5e-2  # 8 bits per weight
    for name, array in from_torch.model.state_dict().items():
        bits = array.numpy().view("uint32")
        assert (bits & 0xFFFF == 0).all(), name


def test_bfloat16_saved_by_paddlenlp(text, tokenizer_dir, tmp_path):
    # PaddleNLP writes such tensors as 16-bit integers, of which the bits are a bfloat16.
    model = TextEncoder.from_folder(TEXT, tokenizer_dir).model.to(dtype="bfloat16")
    model.save_pretrained(str(tmp_path / "text"), safe_serialization=True)
    out = TextEncoder.from_folder(tmp_path / "text", tokenizer_dir).encode(["a cat"])
    assert distance(out[1], text.encode(["a cat"])[1]) < 5e-2


def test_folder_of_the_whole_model(text, image, tokenizer_dir, tmp_path):
    tensors = {**load_file(TEXT / "model.safetensors"), **load_file(VISION / "model.safetensors")}
    tensors["logit_scale"] = np.full((), 4.6, "float32")
    tensors["text_model.embeddings.position_ids"] = np.arange(77)[None]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    text_config, vision_config = (json.loads((folder / "config.json").read_text()) for folder in (TEXT, VISION))
    config = {"model_type": "clip", "text_config": text_config, "vision_config": vision_config}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert same(TextEncoder.from_folder(tmp_path, tokenizer_dir).encode(["a"]), text.encode(["a"]))
    pixels = paddle.rand([1, 3, 32, 32])
    np.testing.assert_array_equal(ImageEncoder.from_folder(tmp_path)(pixels), image(pixels))


def test_loading_uses_no_network_and_writes_nothing(text_dir, own_tokenizer_dir, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = sorted(text_dir.parent.rglob("*"))
    TextEncoder.from_folder(text_dir, own_tokenizer_dir).encode(["a cat"])
    assert sorted(text_dir.parent.rglob("*")) == before
