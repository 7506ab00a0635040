#!/usr/bin/env python
"""After training a semantic encoder: make its latents have mean 0 and standard deviation 1 again, as diffusion expects."""

import sys

import _clone

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.cli.numbers import count, pixels
from ldm.common.runtime import prepare


def standardise(args):
    """Change the encoder's file in the release folder."""
    import numpy as np
    import paddle

    from ldm.data.dataset import ImageTextFolder
    from ldm.training.batch_norms import standardise_latents
    from ldm.weights.convert import save_weights
    from ldm.weights.release import Release, network_config

    release = Release(args.release)
    path = release.file("effnet")
    dataset = ImageTextFolder(args.dataset_path, args.resolution)
    images = np.stack([dataset[index]["image"] for index in range(min(args.count, len(dataset)))])
    encoder, config = release.load("effnet"), network_config(path, "effnet")
    _, deviation = standardise_latents(encoder, paddle.to_tensor(images))
    save_weights(encoder, path, "effnet", args.dtype, config, to_release=True)
    print(
        f"{path}: standard deviations of the latents' channels were {float(deviation.min()):.2f} to "
        f"{float(deviation.max()):.2f}, are 1 now. Train previewer, decoder and prior after this."
    )


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--release", required=True, help="folder whose effnet_encoder.safetensors is changed")
    add("--dataset_path", required=True, help="image-text folder to take the statistics from")
    add("--resolution", type=pixels, default=192, help="side of the images, divisible by 32 (default: %(default)s)")
    add("--count", type=count, default=1024, help="images to look at, at most (default: %(default)s)")
    add("--dtype", default="float16", choices=("float32", "float16"), help="of the file (default: %(default)s)")
    return parser


def main(argv=None) -> int:
    return run_command("standardise_encoder.py", make_parser, standardise, argv, prepare)


if __name__ == "__main__":
    sys.exit(main())
