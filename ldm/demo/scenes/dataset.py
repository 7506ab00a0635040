"""Scenes on disk: the image-text folder users train on, and scenes.jsonl, which says what every picture shows."""

import json
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ldm.common.atomic import atomic_path
from ldm.common.child_processes import get_signal_at_parents_end
from ldm.common.json_files import parse_json, read_json
from ldm.demo.scenes.captions import caption
from ldm.demo.scenes.render import render
from ldm.demo.scenes.sampling import SPLITS, held_out, sample_scene
from ldm.demo.scenes.scene import Scene

PER_FOLDER = 1000
SMALLEST, LARGEST = 64, 2048  # pixels; below, small shapes lose their form
MOST = 1_000_000  # names have six digits
PNG_LEVEL = 1  # flat pictures shrink well at any level: 1 is the fastest
SETTINGS_FILE, SCENES_FILE = "dataset.json", "scenes.jsonl"


@dataclass(frozen=True)
class SceneSettings:
    """What a folder of scenes is made from; the same settings give the same bytes."""

    count: int
    size: int = 128
    seed: int = 0
    split: str = "train"
    plain_share: float = 0.0

    def __post_init__(self):
        if not 1 <= self.count <= MOST:
            raise ValueError(f"count {self.count} is out of range: 1 to {MOST}.")
        if not SMALLEST <= self.size <= LARGEST:
            raise ValueError(f"size {self.size} is out of range: {SMALLEST} to {LARGEST} pixels.")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative: 0 or more.")
        if self.split not in SPLITS:
            raise ValueError(f"split {self.split!r} is unknown: one of {', '.join(SPLITS)}.")
        if not 0 <= self.plain_share <= 1:
            raise ValueError(f"plain_share {self.plain_share} is out of range: 0 to 1.")


def scene_name(index: int) -> str:
    return f"{index // PER_FOLDER:03d}/{index:06d}"


def make_example(settings: SceneSettings, index: int) -> tuple[Scene, str]:
    """The scene and the caption of one picture, independent of all others. Only training captions leave things out."""
    rng = np.random.default_rng([settings.seed, SPLITS.index(settings.split), index])
    scene = sample_scene(rng, settings.split, settings.plain_share)
    return scene, caption(scene, rng, complete=settings.split != "train")


def _write_example(folder: Path, settings: SceneSettings, index: int) -> str:
    """Write one picture with its caption, unless both are there; its line of scenes.jsonl."""
    scene, text = make_example(settings, index)
    name = scene_name(index)
    image, words = folder / f"{name}.png", folder / f"{name}.txt"
    if not (image.exists() and words.exists()):
        with atomic_path(image) as temporary:
            Image.fromarray(render(scene, settings.size)).save(temporary, format="PNG", compress_level=PNG_LEVEL)
        with atomic_path(words) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    line = {"name": name, "caption": text, "held_out": sorted(held_out(scene)), "scene": scene.to_dict()}
    return json.dumps(line)


def _claim(folder: Path, settings: SceneSettings):
    """Write the settings into the folder, or check that it was begun with the same ones and no more pictures."""
    path = folder / SETTINGS_FILE
    if path.exists():
        try:
            begun = SceneSettings(**read_json(path))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} cannot be read ({error}): choose a new folder.") from error
        for name, old in asdict(begun).items():
            new = getattr(settings, name)
            if new < old if name == "count" else new != old:
                raise ValueError(
                    f"{folder} was begun with {name} {old}, not {new}: choose another folder or the same settings."
                )
    elif folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and holds no {SETTINGS_FILE}: choose a new folder.")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(asdict(settings)) + "\n", encoding="utf-8")


def write_scenes(folder, settings: SceneSettings, workers: int = 1, progress=iter):
    """Write or finish a folder of scenes. `progress` wraps the iterator over the pictures, as tqdm does.

    A run that was stopped goes on where it was; a larger count adds pictures and keeps the others.
    """
    if workers < 1:
        raise ValueError(f"workers {workers} is too few: 1 or more.")
    folder = Path(folder)
    _claim(folder, settings)
    write = partial(_write_example, folder, settings)
    with _pool(workers) if workers > 1 else nullcontext() as pool:
        lines = pool.map(write, range(settings.count), chunksize=64) if pool else map(write, range(settings.count))
        with atomic_path(folder / SCENES_FILE) as temporary, open(temporary, "w", encoding="utf-8") as out:
            out.writelines(f"{line}\n" for line in progress(lines))


@contextmanager
def _pool(workers: int):
    """Processes that stop at the picture they are at when the block is left by an error or Ctrl-C."""
    with ProcessPoolExecutor(workers, initializer=_begin_worker, initargs=(os.getpid(),)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_worker(parent: int):
    """A worker ends with its parent, and leaves it to it to tell of a Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    get_signal_at_parents_end(signal.SIGKILL, parent)


def read_scenes(folder) -> dict[str, tuple[Scene, str]]:
    """Scene and caption by name ("000/000123"), from a folder's scenes.jsonl; FileNotFoundError if it is not finished."""
    path = Path(folder) / SCENES_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: finish the folder with scripts/make_scene_dataset.py.")
    scenes = {}
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path}, line {number}"
            value = parse_json(line.decode("utf-8", "replace"), where, remedy="make the folder again")
            try:
                scenes[value["name"]] = Scene.from_dict(value["scene"]), value["caption"]
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{where} is no scene ({error}): make the folder again.") from error
    return scenes
