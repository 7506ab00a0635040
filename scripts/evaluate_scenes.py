#!/usr/bin/env python
"""Measure a cascade trained on the scenes: prompts it has never seen, judged, and every network on its own."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import _clone

from ldm import config
from ldm.common.cli import (
    numbers,
    run_command,
)
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare
from ldm.demo.evaluation.settings import PARTS, EvaluationSettings, Untrustworthy

HELP = {
    "count": "held-out prompts",
    "size": "side of the pictures in pixels, at least 256, a multiple of 8; default: what the prior was trained for",
    "seed": "generated image i uses seed + i",
    "scene_seed": "which held-out scenes",
    "steps": "steps of the prior",
    "cfg": "guidance of the prior; 1 switches it off",
    "decoder_steps": "steps of the decoder",
    "decoder_cfg": "guidance of the decoder; 1 switches it off",
    "batch_size": "images at once; another one rounds differently",
    "grid_count": "prompts for every cell of the grid of guidance and steps",
}
TYPES = {
    **{name: numbers.count for name in ("count", "grid_count")},
    **{name: numbers.seed for name in ("seed", "scene_seed")},
    **{name: numbers.steps for name in ("steps", "decoder_steps")},
    **{name: numbers.guidance for name in ("cfg", "decoder_cfg")},
    "size": numbers.pixels,
    "batch_size": numbers.batch,
}


def make_parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--weights", default=config.WEIGHTS_PATH, help="folder of the release")
    add("--prior_weights", default=None, help="a fine-tuned prior instead of the release's")
    for field in fields(EvaluationSettings):
        default = None if field.name == "size" else field.default
        add(f"--{field.name}", type=TYPES[field.name], default=default, help=HELP[field.name])
    add("--output_dir", default="build/evaluation", help="folder for results.json, results.md and pictures")
    add(
        "--parts",
        nargs="+",
        default=list(PARTS),
        metavar="PART",
        help=f"what to measure: {', '.join(PARTS)}; the others' results stay",
    )
    return parser


def measure(args) -> int:
    """Measure the parts that were asked for; 1 if nothing measured could be trusted."""
    from ldm.demo.evaluation.suite import evaluate
    from ldm.pipeline import native_size
    from ldm.weights.bundled import weights_folder

    args.weights = weights_folder(args.weights)
    if args.size is None:
        args.size = native_size(args.weights, prior_path=args.prior_weights)
    settings = EvaluationSettings(**{field.name: getattr(args, field.name) for field in fields(EvaluationSettings)})
    try:
        evaluate(settings, args.parts, args.output_dir, args.weights, args.prior_weights)
    except Untrustworthy as error:
        print(f"evaluate_scenes.py: {error}", file=sys.stderr)
        return 1
    print(f"\nWrote {Path(args.output_dir) / 'results.json'} and results.md")
    return 0


def main(argv=None) -> int:
    return run_command("evaluate_scenes.py", make_parser, measure, argv, prepare)


if __name__ == "__main__":
    sys.exit(main())
