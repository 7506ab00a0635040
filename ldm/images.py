"""Finished images as files: PNG with the settings inside, complete or not there."""

import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.common.atomic import atomic_path
from ldm.common.json_files import parse_json

SETTINGS_KEY = "stable_cascade"


def check_writable(folder) -> Path:
    """Create `folder` if need be and prove that files can be written there, before minutes are spent."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"Cannot write to the output folder {folder} ({error.strerror}): choose another --output_dir."
        ) from error
    return folder


def save_png(path, pixels, settings: dict):
    """Write uint8 pixels (H, W, 3) to `path` with `settings` as JSON in the PNG's text.

    ValueError for pixels of another type: only `ldm.generation.sampling.to_uint8` and drawings make bytes, and it refuses NaN.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"{path}: pixels must be uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}.")
    info = PngInfo()
    info.add_itxt(SETTINGS_KEY, json.dumps(settings, ensure_ascii=False))
    with atomic_path(path) as temporary, open(temporary, "wb") as out:
        Image.fromarray(pixels).save(out, format="PNG", pnginfo=info)


def read_settings(path) -> dict:
    """The settings an image of ours was made with; ValueError if it holds none."""
    with Image.open(path) as image:
        text = getattr(image, "text", {}).get(SETTINGS_KEY)
    if text is None:
        raise ValueError(f"{path} holds no settings of this program.")
    return parse_json(text, f"{path}: its settings")
