"""Text to PNG files: result_0.png, result_1.png, ... Every file holds the settings it was made with."""

import argparse

from ldm import config
from ldm.common.cli import numbers, run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare
from ldm.generation.request import add_request_flags, request_of_flags
from ldm.programs import called_as
from ldm.sizes import MINIMUM

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
    add_request_flags(parser)
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


def lora_scales(args) -> tuple:
    """((LoRA file, strength), ...)."""
    files, scales = args.lora, args.lora_scale
    if not files and scales != [1.0]:
        raise ValueError("--lora_scale is for --lora: name the file.")
    if len(scales) not in (1, len(files)):
        raise ValueError(
            f"--lora_scale has {len(scales)} values for {len(files)} LoRA files: give one, or one for each."
        )
    return tuple(zip(files, scales if len(scales) == len(files) else scales * len(files)))


def check_flags(args):
    """ValueError for flags that do not go together."""
    if args.write_captions and args.contact_sheet:
        raise ValueError("--write_captions makes a dataset, in which --contact_sheet has no caption: leave one out.")
    if args.compile_cache is not None and not args.compile:
        raise ValueError("--compile_cache is for --compile: add that.")
    if args.low_memory and args.lora:
        raise ValueError(
            "--low_memory does not go with --lora: leave one out, or have the LoRA merged into a prior of its own "
            "(scripts/extract_unet_weights.py) for --prior_weights."
        )


def generate(args):
    """Check everything that can be checked, then load, then make the images of one caption after the other."""
    from ldm.common.memory import on_cpu
    from ldm.compiled.unet import check_compilable
    from ldm.data.captions import read_captions
    from ldm.generation.memory import networks_of
    from ldm.generation.preflight import preflight
    from ldm.generation.work import Sizes
    from ldm.images import check_writable
    from ldm.pipeline import StableCascade, native_size
    from ldm.weights.bundled import weights_folder

    # What the flags ask for
    check_flags(args)
    if args.compile:
        check_compilable()
    parts = {"captions": tuple(read_captions(args.caption)), "batch_size": args.batch_size}
    request_of_flags(args, MINIMUM, **parts).check()
    parts["loras"] = lora_scales(args)
    folder, weights = check_writable(args.output_dir), weights_folder(args.weights)
    native = native_size(weights, prior_path=args.prior_weights, lora_path=args.lora[-1] if args.lora else None)
    request = request_of_flags(args, native, **parts)
    request.check()

    # Whether there is room for it
    count = len(request.captions) * request.batch_size
    sizes = Sizes.of(request, len(request.captions) if args.low_memory else 1, count * args.contact_sheet)
    options = {"dtype": args.dtype, "low_memory": args.low_memory, "compiled": args.compile, "on_cpu": on_cpu()}
    report = preflight(networks_of(weights, prior_path=args.prior_weights), sizes, count, folder, options)
    if args.preflight:
        print(report.text(), flush=True)
    if report.problems:
        raise ValueError(" ".join(report.problems))
    if args.preflight:
        return

    # The networks, then the images
    cascade = StableCascade(weights, dtype=args.dtype, prior_path=args.prior_weights, low_memory=args.low_memory)
    cascade.use_loras(request.loras)
    if args.compile:
        cascade.compile(args.compile_cache, keep_weights=False)  # a run has one size and one batch size
    print(cascade.describe())
    pictures = []
    for number, (pixels, record) in enumerate(made(cascade, request)):
        write_image(folder / f"result_{number}.png", pixels, record, args.write_captions)
        if args.contact_sheet:
            pictures.append(pixels)
    if args.contact_sheet:
        write_sheet(folder / "contact_sheet.png", pictures, request)


def made(cascade, request):
    """(pixels, metadata) of one image after the other."""
    for caption, images in zip(request.captions, cascade.generate(request), strict=True):
        for offset, pixels in enumerate(images):
            yield pixels, {**request.record(caption, offset), **cascade.identity()}


def write_image(path, pixels, record: dict, with_caption: bool):
    """The PNG, and where asked for its caption beside it."""
    from ldm.common.atomic import atomic_path
    from ldm.images import save_png

    save_png(path, pixels, record)
    if with_caption:
        with atomic_path(path.with_suffix(".txt")) as temporary:
            temporary.write_text(f"{record['caption']}\n", encoding="utf-8")
    print(f"{path}: {record['caption']}", flush=True)


def write_sheet(path, pictures: list, request):
    """All pictures side by side."""
    import numpy as np

    from ldm.common.sheets import contact_sheet
    from ldm.images import save_png

    sheet = np.asarray(contact_sheet(pictures, columns=min(len(pictures), SHEET_COLUMNS)))
    save_png(path, sheet, {"captions": list(request.captions), "batch_size": request.batch_size})
    print(f"{path}: all {len(pictures)}", flush=True)


def main(argv=None) -> int:
    return run_command(called_as("inference.py"), make_parser, generate, argv, prepare)
