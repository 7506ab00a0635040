"""The undamaged inputs: a small release, captioned pictures of many formats, a run's checkpoint, a LoRA, caches, tars."""

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np

from fuzz import programs

STEP = 2  # of the checkpoint


def make(base: Path):
    """Write every template below `base`. Called in a forked process: Paddle computes here."""
    from small_release import write_scenes_and_release

    write_scenes_and_release(base, dropout=0.1)
    for name in ("stage_b_lite", "stage_c_lite"):
        stir(base / "release" / f"{name}.safetensors")
    few = base / "few"
    few.mkdir()
    for number, path in enumerate(sorted((base / "scenes").rglob("*.png"))[:3]):
        shutil.copy(path, few / f"{number}.png")
        shutil.copy(path.with_suffix(".txt"), few / f"{number}.txt")
    shutil.rmtree(base / "scenes")
    pictures(base / "pictures")
    tars(base / "pictures", base / "tars")
    tables(base / "pictures", base)
    runs(base)


def stir(path: Path):
    """Give the tensors that begin as zero, a network's head among them, values: they would hide what the others do."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    for key, value in tensors.items():
        if not value.any():
            tensors[key] = rng.normal(0, 0.05, value.shape).astype(np.float32)
    save_file(tensors, path, metadata)


def pictures(folder: Path):
    """Six small images of the formats and modes that a dataset may have, with captions and metadata."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    smooth = np.clip(
        np.add.outer(np.arange(72) * 2, np.arange(80))[..., None] + rng.integers(0, 60, (72, 80, 3)), 0, 255
    )
    image = Image.fromarray(smooth.astype(np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(folder / "0.png")
    image.save(folder / "1.jpg", quality=85, exif=exif)
    image.save(folder / "2.webp", quality=80)
    image.quantize(32).save(folder / "3.png", transparency=0)
    Image.fromarray((smooth[..., 0] * 200).astype(np.uint16)).save(folder / "4.png")
    image.save(folder / "5.jpeg", quality=70, progressive=True)
    image.convert("RGBA").save(folder / "6.png", optimize=True)
    image.save(folder / "7.webp", lossless=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.with_suffix(".txt").write_text(f"a plain picture, number {number}, ‘é’\n")
        path.with_suffix(".json").write_text(f'{{"width": 80, "score": {number + 1}, "tags": ["a", "b"]}}')


def tars(source: Path, folder: Path):
    folder.mkdir()
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for path in sorted(source.iterdir()):
            member = tarfile.TarInfo(path.name)
            member.size = path.stat().st_size
            tar.addfile(member, io.BytesIO(path.read_bytes()))


def tables(source: Path, base: Path):
    import json

    rows = [(path.name, path.with_suffix(".txt").read_text().strip(), 80) for path in sorted(source.iterdir())
            if path.suffix not in (".txt", ".json")]  # fmt: skip
    for name in ("jsonl", "csv"):
        folder = base / f"table_{name}"
        folder.mkdir()
        for file, *_ in rows:
            shutil.copy(source / file, folder / file)
    lines = [json.dumps({"file_name": file, "text": text, "width": width}) for file, text, width in rows]
    (base / "table_jsonl" / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    lines = ["file_name,text,width", *(f'{file},"{text}",{width}' for file, text, width in rows)]
    (base / "table_csv" / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def runs(base: Path):
    """What the programs themselves write: a checkpoint, a LoRA in both layouts, a feature cache, compiled programs."""
    (base / "made").mkdir()
    programs.train(base, "--max_steps", 2 * STEP, "--save_steps", STEP, output="whole_run")
    (base / "run").mkdir()
    (base / "whole_run" / f"checkpoint-{STEP}").rename(base / "run" / f"checkpoint-{STEP}")
    lora = ("--method", "lora", "--lora_rank", 2, "--learn_tokens", "[disc]:^red</w>$")
    programs.train(base, "--max_steps", 1, *lora, output="lora_run")
    (base / "lora").mkdir()
    for layout in ("positional", "named"):
        target = base / "lora" / f"{layout}.safetensors"
        programs.extract("--checkpoint_path", base / "lora_run", "--model_file", target, "--lora", layout)
    programs.cache_features(base)
    programs.inference(base, "--compile", "--compile_cache", base / "compiled")
    for name in ("whole_run", "lora_run", "made"):
        shutil.rmtree(base / name)


def copy(base: Path, names, folder: Path) -> Path:
    """A copy of some templates in `folder`, which is made anew. Files are copied: a program may write to any of them."""
    remove(folder)
    folder.mkdir(parents=True)
    for name in names:
        shutil.copytree(base / name, folder / name, symlinks=True)
    (folder / programs.OUTPUTS).mkdir()
    return folder


def remove(folder: Path):
    """Delete a folder, of whatever depth: shutil's rmtree gives up in a thousand folders in each other."""
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def files_below(folder: Path) -> list[Path]:
    return sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names)
