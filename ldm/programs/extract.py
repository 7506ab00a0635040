"""Take the fine-tuned prior, or its LoRA, out of a Trainer's checkpoint, as a file that inference.py loads."""

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare
from ldm.programs import called_as


def source_and_target(checkpoint_path: str, model_file: str):
    """Which of the two is read. Scripts in use disagree on the flags' meaning, so the kinds of path decide:
    a folder or .pdparams is a checkpoint, a .safetensors is what is written."""
    paths = (checkpoint_path, model_file)
    targets = [path for path in paths if path.endswith(".safetensors")]
    if len(targets) != 1:
        raise ValueError(
            f"One of --checkpoint_path and --model_file must be the checkpoint (a folder or .pdparams), the other the file "
            f"to write (.safetensors); got {checkpoint_path} and {model_file}."
        )
    return next(path for path in paths if path not in targets), targets[0]


def extract(args):
    """Extract what the options name and say how to use it."""
    from ldm.training.checkpoints.export import extract_lora, extract_unet

    source, target = source_and_target(args.checkpoint_path, args.model_file)
    if args.lora:
        if args.base:
            raise ValueError("--base is for the merged prior: with --lora it is not read.")
        read = extract_lora(source, target, args.dtype, args.save_ema, args.lora)
    else:
        read = extract_unet(source, target, args.dtype, args.save_ema, args.base)
    use = "--lora" if args.lora else "--prior_weights"
    generate = "stable-cascade" if called_as("") else "python inference.py"
    print(f"{read} -> {target} ({args.dtype}). Use it: {generate} {use} {target}")


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add(
        "--checkpoint_path",
        required=True,
        help="checkpoint folder, output folder (its last checkpoint) or .pdparams file",
    )
    add("--model_file", required=True, help="file to write, NAME.safetensors")
    add("--dtype", default="float32", choices=("float32", "float16", "bfloat16"), help="(default: %(default)s)")
    add("--save_ema", action="store_true", help="the averaged weights (of a run with --ema_decay) instead of the last")
    add(
        "--lora",
        nargs="?",
        const="positional",
        choices=("positional", "named"),
        help="the LoRA and learned tokens alone, in the release's layout or, named, in that of other tools",
    )
    add("--base", help="the prior that a LoRA was trained on, where it has moved; else its LoRA is merged into that")
    return parser


def main(argv=None) -> int:
    return run_command(called_as("extract_unet_weights.py"), make_parser, extract, argv, prepare)
