"""Run a stage's frozen encoders once over a dataset, so that its training needs none of them.

Several GPUs, or several cores, share the work: python -m paddle.distributed.launch --nproc_per_node 2 scripts/cache_features.py ...
"""

import argparse

from ldm import config
from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.cli.numbers import pixels, share, tokens
from ldm.common.runtime import prepare
from ldm.programs import called_as

# As the trainer's
DATA_FLAGS = (
    "dataset_path", "resolution", "output_size", "crop", "aspect_buckets", "caption_key", "data_filter", "index_dir",
    "skip_corrupt", "preservation_path",
)  # fmt: skip


def cache(args):
    """Encode what the cache lacks; of several processes each its own share."""
    from paddle.distributed import get_rank, get_world_size

    from ldm.data.feature_cache import FeatureCache
    from ldm.features import DecoderFeatures, PriorFeatures
    from ldm.frozen import open_release
    from ldm.training.batches.cached import check_cache_dtype, recipe_of_dataset
    from ldm.training.batches.data import open_dataset
    from ldm.training.batches.fill_cache import fill_cache
    from ldm.training.tasks.decoder import DecoderDataArguments
    from ldm.training.tasks.prior import PriorDataArguments

    check_cache_dtype(args.dtype, "--dtype")
    flags = {name: getattr(args, name) for name in DATA_FLAGS}
    arguments, features = PriorDataArguments, PriorFeatures()
    if args.stage == "decoder":
        arguments, features = DecoderDataArguments, DecoderFeatures(args.encoder_scale, args.encoder_resample)
    data = arguments(**flags, check_images=args.skip_corrupt, **({"random_bucket": 0.0} if args.aspect_buckets else {}))
    frozen, _ = open_release(args.weights_path, "float32")
    dataset = open_dataset(data)
    recipe = recipe_of_dataset(frozen, dataset, args.model_max_length, features)
    store = FeatureCache(args.feature_cache, {**recipe, "dtype": args.dtype}, features.names)
    rank, ranks = get_rank(), get_world_size()
    encoded = fill_cache(frozen, dataset, store, args.model_max_length, features, rank, ranks, args.trust_mtime)
    if ranks > 1:
        print(f"{store.folder}: {encoded} images encoded by process {rank + 1} of {ranks}.")
        return
    size = sum(path.stat().st_size for path in store.folder.iterdir())
    print(
        f"{store.folder}: {encoded} images encoded, {len(dataset) - encoded} were there already, {size / 1e6:.0f} MB. "
        f"Train with --feature_cache {args.feature_cache}."
    )


def make_parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset_path", required=True, help="image-text folder, metadata table or tars to train on")
    add("--feature_cache", required=True, help="folder to write; only what it lacks is encoded")
    add("--stage", choices=("prior", "decoder"), default="prior", help="which is to be trained (default: %(default)s)")
    add(
        "--encoder_scale",
        type=share,
        default=0.75,
        help="decoder: side of what the encoder sees, as a share of the image's",
    )
    add(
        "--encoder_resample",
        default="nearest",
        help="decoder: nearest or area, as the trainer's (default: %(default)s)",
    )
    add("--weights_path", default=config.WEIGHTS_PATH, help="release folder whose encoders run (default: %(default)s)")
    add("--resolution", type=pixels, help="as the trainer's: training crop in pixels (default: the trainer's)")
    add("--output_size", type=pixels, help="as the trainer's: size that will be generated, instead of --resolution")
    add("--crop", default="centre", help="as the trainer's, but not random: centre or smart (default: %(default)s)")
    add("--aspect_buckets", action="store_true", help="as the trainer's, which then needs --random_bucket 0")
    for name in ("caption_key", "data_filter"):
        add(f"--{name}", default="", help="as the trainer's")
    add("--index_dir", help="as the trainer's")
    add("--preservation_path", help="as the trainer's: a second set, cached too")
    add("--skip_corrupt", action="store_true", help="as the trainer's: leave out damaged images")
    add(
        "--trust_mtime",
        action="store_true",
        help="do not hash images whose bytes, modification and change time and inode are those of the last time",
    )
    add("--model_max_length", type=tokens, help="as the trainer's: tokens per caption")
    add("--dtype", default="float32", help="float32, exact, or float16, half the size (default: %(default)s)")
    return parser


def main(argv=None) -> int:
    return run_command(called_as("cache_features.py"), make_parser, cache, argv, prepare)
