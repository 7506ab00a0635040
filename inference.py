#!/usr/bin/env python
"""Text to PNG files: result_0.png, result_1.png, ... Every file holds the settings it was made with."""

import argparse
import sys
from dataclasses import replace

import config
from ldm.common.cli import numbers, run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare

SHEET_COLUMNS = 4


def make_parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add(
        "--caption",
        nargs="+",
        action="extend",
        required=True,
        help="one or several texts, or .txt files of one text a line",
    )
    add("--batch_size", type=numbers.batch, default=1, help="images per caption; image i uses seed + i")
    add("--seed", type=numbers.seed, default=0, help="the same seed gives the same image")
    native = "pixels, at least 256; default: what the prior was trained for, 1024 in the release"
    add("--height", type=numbers.pixels, default=None, help=native)
    add("--width", type=numbers.pixels, default=None, help=native)
    add("--steps", type=numbers.steps, default=20, help="steps of the prior")
    add("--cfg", type=numbers.guidance, default=4.0, help="guidance of the prior; 1 switches it off")
    add("--decoder_steps", type=numbers.steps, default=10, help="steps of the decoder")
    add("--decoder_cfg", type=numbers.guidance, default=1.1, help="guidance of the decoder; 1 switches it off")
    add("--weights", default=config.WEIGHTS_PATH, help="folder of the release, official or converted")
    add(
        "--prior_weights",
        default=None,
        help="a fine-tuned prior (scripts/extract_unet_weights.py) instead of the release's",
    )
    add("--lora", nargs="+", default=[], help="LoRA files of the prior, in the release's layout or that of other tools")
    add("--lora_scale", nargs="+", type=numbers.strength, default=[1.0], help="strength of every LoRA, or one for each")
    add("--output_dir", default=".", help="folder for the PNG files")
    add("--contact_sheet", action="store_true", help="also contact_sheet.png, all pictures side by side")
    add(
        "--write_captions",
        action="store_true",
        help="also result_0.txt, ...: a dataset, for instance for a trainer's --preservation_path",
    )
    add(
        "--compile",
        action="store_true",
        help="compile prior and decoder for this CPU: faster from the second step on, same images; the programs are kept",
    )
    add(
        "--compile_cache",
        default=None,
        help="folder for compiled programs, as large as the weights for every size; default: in the user's cache folder",
    )
    add(
        "--low_memory",
        action="store_true",
        help="text tower, prior and decoder one after the other in memory: all captions' latents first, then all pictures",
    )
    add("--preflight", action="store_true", help="look at weights, disk and memory, say what it takes, and stop")
    add("--dtype", default=config.dtype, choices=("float32", "float16", "bfloat16"), help="of prior and decoder")
    return parser


def lora_scales(args) -> list[tuple[str, float]]:
    """[(LoRA file, strength)]."""
    files, scales = args.lora, args.lora_scale
    if not files and scales != [1.0]:
        raise ValueError("--lora_scale is for --lora: name the file.")
    if len(scales) not in (1, len(files)):
        raise ValueError(
            f"--lora_scale has {len(scales)} values for {len(files)} LoRA files: give one, or one for each."
        )
    return list(zip(files, scales if len(scales) == len(files) else scales * len(files)))


def generate(args):
    """Check everything that can be checked, then load, then make the images of one caption after the other."""
    import numpy as np

    from ldm.common.atomic import atomic_path
    from ldm.common.images import check_writable, save_png
    from ldm.common.memory import on_cpu
    from ldm.common.sheets import contact_sheet
    from ldm.compiled.unet import check_compilable
    from ldm.data.captions import read_captions
    from ldm.generation.limits import MOST_FILES, check_count
    from ldm.generation.preflight import preflight
    from ldm.generation.work import Sizes
    from ldm.pipeline import GenerationSettings, StableCascade, native_size, networks_of
    from ldm.weights.bundled import weights_folder

    if args.write_captions and args.contact_sheet:
        raise ValueError("--write_captions makes a dataset, in which --contact_sheet has no caption: leave one out.")
    if args.compile_cache is not None and not args.compile:
        raise ValueError("--compile_cache is for --compile: add that.")
    if args.low_memory and args.lora:
        raise ValueError(
            "--low_memory does not go with --lora: leave one out, or have the LoRA merged into a prior of its own "
            "(scripts/extract_unet_weights.py) for --prior_weights."
        )
    if args.compile:
        check_compilable()
    captions = read_captions(args.caption)
    names = ("seed", "steps", "cfg", "decoder_steps", "decoder_cfg")
    settings = GenerationSettings(**{name: getattr(args, name) for name in names})
    settings.check(args.batch_size)
    loras, folder, weights = lora_scales(args), check_writable(args.output_dir), weights_folder(args.weights)
    native = native_size(weights, prior_path=args.prior_weights, lora_path=loras[-1][0] if loras else None)
    height, width = (native if side is None else side for side in (args.height, args.width))
    settings = replace(settings, height=height, width=width)
    settings.check(args.batch_size)
    images = check_count("batch_size times captions", args.batch_size * len(captions), MOST_FILES)
    networks = networks_of(weights, prior_path=args.prior_weights)
    sizes = Sizes.of(settings, args.batch_size, len(captions) if args.low_memory else 1, images * args.contact_sheet)
    options = {"dtype": args.dtype, "low_memory": args.low_memory, "compiled": args.compile, "on_cpu": on_cpu()}
    report = preflight(networks, sizes, images, folder, options)
    if args.preflight:
        print(report.text(), flush=True)
    if report.problems:
        raise ValueError(" ".join(report.problems))
    if args.preflight:
        return
    cascade = StableCascade(weights, dtype=args.dtype, prior_path=args.prior_weights, low_memory=args.low_memory)
    for path, scale in loras:
        cascade.load_lora(path, scale)
    if args.compile:
        cascade.compile(args.compile_cache, keep_weights=False)  # a run has one size and one batch size
    print(cascade.describe())

    count, pictures = 0, []
    for caption, images in zip(captions, cascade.each(captions, args.batch_size, settings), strict=True):
        for offset, pixels in enumerate(images):
            path = folder / f"result_{count}.png"
            record = {"caption": caption, **settings.as_dict(), "seed": args.seed + offset, **cascade.identity()}
            save_png(path, pixels, record)
            if args.write_captions:
                with atomic_path(path.with_suffix(".txt")) as temporary:
                    temporary.write_text(f"{caption}\n", encoding="utf-8")
            print(f"{path}: {caption}", flush=True)
            count += 1
            if args.contact_sheet:
                pictures.append(pixels)
    if args.contact_sheet:
        sheet = np.asarray(contact_sheet(pictures, columns=min(len(pictures), SHEET_COLUMNS)))
        save_png(folder / "contact_sheet.png", sheet, {"captions": captions, "batch_size": args.batch_size})
        print(f"{folder / 'contact_sheet.png'}: all {len(pictures)}", flush=True)


def main(argv=None) -> int:
    return run_command("inference.py", make_parser, generate, argv, prepare)


if __name__ == "__main__":
    sys.exit(main())
