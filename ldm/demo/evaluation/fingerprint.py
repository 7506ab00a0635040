"""Which weights were measured, and with what: hashes of the release's files, versions of what computed."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import paddle
from tqdm.auto import tqdm

from ldm.common.hashing import files_of, sha256_of, sha256_together

PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddlenlp", "numpy", "pillow", "scikit-image")


def used_files(cascade) -> dict[str, Path]:
    """Name in the release -> path: the five networks in use, and everything in the folders of towers and tokenizer."""
    from ldm import config

    release = cascade.prior.frozen.release
    networks = [cascade.prior.unet_path, cascade.decoder.unet_path]
    networks += [release.file(kind) for kind in ("stage_a", "effnet", "previewer")]
    found = {Path(path).name: Path(path) for path in networks}
    for name in (config.text_encoder_name, config.image_encoder_name, config.tokenizer_name):
        folder = release.folder / name
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} does not exist: download {name}/ of the release, or correct config.py.")
        found |= {f"{name}/{path.name}": path for path in files_of(folder)}
    return found


def fingerprint(files: dict[str, Path]) -> dict:
    """sha256 of every file by its name, and of all of them together."""
    with tqdm(
        total=sum(path.stat().st_size for path in files.values()),
        desc="Weights",
        unit="B",
        unit_scale=True,
        leave=False,
    ) as bar:
        hashes = {name: sha256_of(path, bar.update) for name, path in files.items()}
    return {"sha256": sha256_together(hashes), "files": hashes}


def environment(dtype: str) -> dict:
    """Device, precision of prior and decoder, and versions; a package that is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"device": _device(), "dtype": dtype, "versions": versions}


def _device() -> str:
    """What the seconds per image were spent on: "gpu:0 (its name)" or "cpu (threads)"."""
    device = paddle.get_device()
    if device.startswith("gpu"):
        return f"{device} ({paddle.device.cuda.get_device_name()})"
    return f"{device} ({os.environ.get('OMP_NUM_THREADS', '1')} threads)"  # Paddle's own default is one
