"""results.json: every part's numbers with the settings they were measured with, of one set of weights; which weights, and
what computed."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import paddle
from tqdm.auto import tqdm

from ldm.common.atomic import atomic_path
from ldm.common.hashing import files_of, sha256_of, sha256_together
from ldm.common.json_files import read_json

RESULTS_FILE, REPORT_FILE = "results.json", "results.md"
PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddlenlp", "numpy", "scipy", "pillow", "scikit-image")


def open_results(folder, weights: dict, parts) -> dict:
    """What earlier runs left of the same weights, or an empty document: {"weights": ..., "parts": {name: ...}}.

    weights: see `fingerprint`; parts: the ones about to be measured. ValueError if others would stay behind that were
    measured with other weights, or if the file is damaged.
    """
    path, empty = Path(folder) / RESULTS_FILE, {"weights": weights, "parts": {}}
    if not path.exists():
        return empty
    try:
        document = read_json(path)
        same, stale = document["weights"]["sha256"] == weights["sha256"], set(document["parts"]) - set(parts)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}): remove it or choose another --output_dir.") from error
    if same:
        return document
    if stale:
        raise ValueError(
            f"{path} holds {', '.join(sorted(stale))} of other weights: choose another --output_dir, remove it, or "
            "measure these parts again as well."
        )
    return empty


def save_results(folder, document: dict, report: str):
    """Write both files, each whole or not at all. FloatingPointError for a measurement that is NaN or infinite."""
    try:
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    except ValueError as error:
        last = list(document["parts"])[-1]
        raise FloatingPointError(
            f"{Path(folder) / RESULTS_FILE} is not written: a number that {last} has measured is not finite. Look for "
            "damaged weights (inference.py names them)."
        ) from error
    for name, content in ((RESULTS_FILE, text), (REPORT_FILE, report)):
        with atomic_path(Path(folder) / name) as temporary:
            temporary.write_text(content, encoding="utf-8")


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
