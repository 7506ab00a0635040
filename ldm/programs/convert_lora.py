"""Convert a LoRA of the prior between the release's layout and that of other tools, or merge it into a prior file."""

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.cli.numbers import strength
from ldm.common.runtime import prepare
from ldm.programs import called_as


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--lora", required=True, help="LoRA file of either layout")
    add("--output", required=True, help="file to write, NAME.safetensors")
    add("--layout", choices=("positional", "named"), help="positional: the release's; named: other tools'")
    add("--merge_into", metavar="PRIOR", help="write this prior with the LoRA merged instead of a LoRA")
    add("--scale", type=strength, default=1.0, help="strength with --merge_into (default: %(default)s)")
    add("--prior", help="the prior a LoRA belongs to that does not say it and is of no released size")
    add(
        "--any_prior",
        action="store_true",
        help="with --layout: leave out which prior it was trained on, others refuse it",
    )
    add("--filter", nargs="+", help="layers it was trained on, where the file does not say (default: .attn)")
    add("--tokens", nargs="+", help="its learned tokens, '[name]:regex' or 'regex', where the file does not say")
    add(
        "--dtype", choices=("float32", "float16", "bfloat16"), help="default: float32, or the prior's with --merge_into"
    )
    return parser


def convert(args):
    """Do what the options name and say what was done."""
    from ldm.adapters.convert import convert_lora, merge_lora

    if (args.layout is None) == (args.merge_into is None):
        raise ValueError("Give either --layout, to convert the LoRA, or --merge_into, to merge it into a prior.")
    if args.merge_into is None:
        if args.scale != 1.0:
            raise ValueError("--scale is for --merge_into: a converted LoRA keeps its strength.")
        dtype = args.dtype or "float32"
        options = args.prior, args.filter, args.tokens, dtype, args.any_prior
        lora = convert_lora(args.lora, args.output, args.layout, *options)
        print(f"{args.lora} -> {args.output} ({args.layout}, {len(lora.updates)} weights{_tokens(lora)})")
        return
    if args.prior or args.tokens:
        raise ValueError("--prior and --tokens are for --layout: --merge_into names the prior, which holds no tokens.")
    if args.any_prior:
        raise ValueError("--any_prior is for --layout: write the LoRA anew with it, then merge that file.")
    lora = merge_lora(args.lora, args.merge_into, args.output, args.scale, args.dtype, args.filter)
    print(f"{args.merge_into} with {args.scale:g} x {args.lora} ({len(lora.updates)} weights) -> {args.output}")
    if lora.tokens is not None:
        print(f"The {len(lora.tokens.indices)} learned tokens are not in it: a prior holds none. Keep {args.lora}.")


def _tokens(lora) -> str:
    return f", {len(lora.tokens.indices)} learned tokens" if lora.tokens is not None else ""


def main(argv=None) -> int:
    return run_command(called_as("convert_lora.py"), make_parser, convert, argv, prepare)
