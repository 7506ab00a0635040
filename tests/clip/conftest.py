"""The tiny towers, loaded once, and copies of their folders to spoil."""

import shutil
from pathlib import Path

import pytest
from clip_files import TEXT, VISION

from ldm.clip.encoders import ImageEncoder, TextEncoder
from ldm.demo.rule_clip import write_tokenizer


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "tokenizer"
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def text(tokenizer_dir):
    return TextEncoder.from_folder(TEXT, tokenizer_dir)


@pytest.fixture(scope="session")
def image():
    return ImageEncoder.from_folder(VISION)


@pytest.fixture
def text_dir(tmp_path):
    return Path(shutil.copytree(TEXT, tmp_path / "text_encoder"))


@pytest.fixture
def own_tokenizer_dir(tokenizer_dir, tmp_path):
    return Path(shutil.copytree(tokenizer_dir, tmp_path / "tokenizer"))
