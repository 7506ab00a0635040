#!/usr/bin/env python
"""Text to PNG files: result_0.png, result_1.png, ... Every file holds the settings it was made with."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import config
from ldm.cli import run
from ldm.runtime import prepare

SHEET_COLUMNS = 4


def parse(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add(
        "--caption",
        nargs="+",
        action="extend",
        required=True,
        help="one or several texts, or .txt files of one text a line",
    )
    add("--batch_size", type=int, default=1, help="images per caption; image i uses seed + i")
    add("--seed", type=int, default=0, help="the same seed gives the same image")
    native = "pixels, at least 256; default: what the prior was trained for, 1024 in the release"
    add("--height", type=int, default=None, help=native)
    add("--width", type=int, default=None, help=native)
    add("--steps", type=int, default=20, help="steps of the prior")
    add("--cfg", type=float, default=4.0, help="guidance of the prior; 1 switches it off")
    add("--decoder_steps", type=int, default=10, help="steps of the decoder")
    add("--decoder_cfg", type=float, default=1.1, help="guidance of the decoder; 1 switches it off")
    add("--weights", default=config.WEIGHTS_PATH, help="folder of the release, official or converted")
    add(
        "--prior_weights",
        default=None,
        help="a fine-tuned prior (scripts/extract_unet_weights.py) instead of the release's",
    )
    add("--output_dir", default=".", help="folder for the PNG files")
    add("--contact_sheet", action="store_true", help="also contact_sheet.png, all pictures side by side")
    add("--dtype", default=config.dtype, choices=("float32", "float16", "bfloat16"), help="of prior and decoder")
    return parser.parse_args(argv)


def read_captions(values) -> list[str]:
    """Texts as they are; the lines of every .txt file that is named."""
    captions = []
    for value in values:
        if not value.endswith(".txt"):
            captions.append(value)
            continue
        if not Path(value).is_file():
            raise FileNotFoundError(f"Caption file {value} does not exist.")
        lines = [line.strip() for line in Path(value).read_text(encoding="utf-8").splitlines()]
        if not any(lines):
            raise ValueError(f"Caption file {value} is empty: write one caption a line.")
        captions += [line for line in lines if line]
    return captions


def generate(args):
    """Check everything that can be checked, then load, then make the images of one caption after the other."""
    from ldm.demo import weights_folder
    from ldm.images import check_writable, contact_sheet, save_png
    from ldm.pipeline import GenerationSettings, StableCascade, native_size

    captions = read_captions(args.caption)
    names = ("seed", "steps", "cfg", "decoder_steps", "decoder_cfg")
    settings = GenerationSettings(**{name: getattr(args, name) for name in names})
    settings.check(args.batch_size)
    folder, weights = check_writable(args.output_dir), weights_folder(args.weights)
    native = native_size(weights, prior_path=args.prior_weights)
    height, width = (native if side is None else side for side in (args.height, args.width))
    settings = replace(settings, height=height, width=width)
    settings.check(args.batch_size)
    cascade = StableCascade(weights, dtype=args.dtype, prior_path=args.prior_weights)
    print(cascade.describe())

    pictures = []
    for caption in captions:
        for offset, pixels in enumerate(cascade(caption, args.batch_size, settings)):
            path = folder / f"result_{len(pictures)}.png"
            record = {"caption": caption, **settings.as_dict(), "seed": args.seed + offset, **cascade.identity()}
            save_png(path, pixels, record)
            print(f"{path}: {caption}", flush=True)
            pictures.append(pixels)
    if args.contact_sheet:
        sheet = np.asarray(contact_sheet(pictures, columns=min(len(pictures), SHEET_COLUMNS)))
        save_png(folder / "contact_sheet.png", sheet, {"captions": captions, "batch_size": args.batch_size})
        print(f"{folder / 'contact_sheet.png'}: all {len(pictures)}", flush=True)


def main(argv=None) -> int:
    args = parse(argv)
    prepare()
    return run("inference.py", lambda: generate(args))


if __name__ == "__main__":
    sys.exit(main())
