#!/usr/bin/env python
"""What each faster way of `ldm/networks/layers/fast` gains: steps with it and with its formula in its place, in turn.

python benchmarks/layers.py [--cases prior decoder ...] [--ways gelu_gradient ...] [--rounds 5]

Networks of few blocks, as wide as the released ones and the demo's, on two inputs of the sizes they see. Printed is the
least time of a step without a way as a multiple of the least time with all of them; "all" are switched off together.
"""

import argparse
import os
from contextlib import nullcontext
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from filled import start_paddle
from tqdm import tqdm

start_paddle()
import paddle  # noqa: E402

from ldm.compiled.unet import CompiledUNet  # noqa: E402
from ldm.networks.layers.fast.switch import WAYS, plain_formulas, switched_off  # noqa: E402
from ldm.networks.stage_a import StageA  # noqa: E402
from ldm.networks.stage_b import StageB  # noqa: E402
from ldm.networks.stage_c import StageC  # noqa: E402

TOKENS = 77
ONE_LEVEL = dict(blocks=((1,), (1,)), block_repeat=((1,), (1,)), level_config=("CTA",), switch_level=(), dropout=(0.1,))


def prior(width: int, heads: int) -> StageC:
    return filled(StageC(c_cond=width, c_hidden=(width,), nhead=(heads,), **ONE_LEVEL))


def decoder(widths, heads, layouts, scale: float = 0.02) -> StageB:
    units = tuple((1,) * len(widths) for _ in range(2))
    shape = dict(c_hidden=widths, nhead=heads, level_config=layouts, blocks=units, block_repeat=units)
    return filled(StageB(c_cond=widths[-1], dropout=(0,) * len(widths), **shape), scale)


def filled(network, scale: float = 0.02):
    """Weights of a standard deviation that no zero of a new network hides anything behind; in evaluation mode."""
    for parameter in network.parameters():
        parameter.set_value(parameter + scale * paddle.randn(parameter.shape))
    network.eval()
    return network


def prior_inputs(network, batch: int, side: int):
    text, pooled, image = (
        paddle.randn([batch, TOKENS, 1280]),
        paddle.randn([batch, 1, 1280]),
        paddle.randn([batch, 1, 768]),
    )
    return (paddle.randn([batch, 16, side, side]), paddle.rand([batch])), dict(
        clip_text=text, clip_text_pooled=pooled, clip_img=image
    )


def decoder_inputs(network, batch: int, side: int):
    effnet, clip = paddle.randn([batch, 16, 12, 12]), paddle.randn([batch, 1, 1280])
    return (paddle.randn([batch, 4, side, side]), paddle.rand([batch])), dict(effnet=effnet, clip=clip)


def generating(network, inputs, conditions):
    """A step without gradients, its conditions prepared."""
    step = network.bound(inputs[0].shape[2:], **conditions)
    return paddle.no_grad()(lambda: step(*inputs))


def compiled(network, inputs, conditions):
    """The same as a program, of which there is one for each set of ways that is off."""
    steps, folder = {}, TemporaryDirectory()

    @paddle.no_grad()
    def step(folder=folder):
        off = tuple(switched_off())
        if off not in steps:
            program = CompiledUNet(network, f"{folder.name}/programs", say=lambda _: None)
            steps[off] = program.bound(inputs[0].shape[2:], **conditions)
        steps[off](*inputs)

    return step


def training(network, inputs, conditions):
    """Forward and backward."""
    network.train()

    def step():
        network(*inputs, **conditions).square().mean().backward()
        network.clear_gradients(set_to_zero=False)

    return step


def decoding(side: int):
    """Stage A, of fewer blocks."""
    network = filled(StageA(bottleneck_blocks=2))
    latent = paddle.randn([1, 4, side, side])
    return paddle.no_grad()(lambda: network.decode(latent))


def of(kind, network, make_inputs, *sizes):
    made = network()
    return kind(made, *make_inputs(made, *sizes))


GROWN = 0.5  # weights that bring activations beyond 13, as trainings do
DEMO_B = ((32, 96, 192), (-1, -1, 6), ("CT", "CT", "CTA"))
LARGE_B = ((320, 576, 1152), (-1, 9, 18), ("CT", "CT", "CTA"))
COMPILED, IN_PROGRAMS = "prior 100M compiled", ("sum_by_product", "fused_attention")
CLOCKS = {"wall": perf_counter, "processor": process_time}
CASES = {  # name -> what makes a step
    "prior 1B": partial(of, generating, partial(prior, 1536, 24), prior_inputs, 2, 24),
    "decoder 700M": partial(of, generating, partial(decoder, *LARGE_B), decoder_inputs, 2, 64),
    "Stage A": partial(decoding, 128),
    COMPILED: partial(of, compiled, partial(prior, 704, 11), prior_inputs, 2, 24),
    "training 100M": partial(of, training, partial(prior, 704, 11), prior_inputs, 2, 24),
    "training demo C": partial(of, training, partial(prior, 192, 6), prior_inputs, 32, 6),
    "training demo B": partial(of, training, partial(decoder, *DEMO_B), decoder_inputs, 4, 64),
    "the same, grown": partial(of, training, partial(decoder, *DEMO_B, GROWN), decoder_inputs, 4, 64),
}


def seconds(step, names, clock) -> float:
    with plain_formulas(*names) if names else nullcontext():
        start = clock()
        step()
        return clock() - start


def least_times(step, ways, rounds: int, clock, progress, off=()) -> dict:
    """Way, "" for none and "all" -> the least time of a step without it, all in turn in every round, the first uncounted."""
    switched = {"": off, **{way: (*off, way) for way in ways}, "all": tuple(WAYS)}
    times = {name: [] for name in switched}
    for _ in progress(range(rounds + 1)):
        for name, names in switched.items():
            times[name].append(seconds(step, names, clock))
    return {name: min(found[1:]) for name, found in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    add(
        "--off",
        nargs="+",
        choices=WAYS,
        default=[],
        metavar="WAY",
        help="off all along: fused_attention as without AVX-512",
    )
    add("--rounds", type=int, default=5)
    add("--clock", choices=CLOCKS, default="wall", help="processor: of all threads; where others use the machine too")
    args = parser.parse_args()
    paddle.seed(0)
    print(f"paddle {paddle.__version__}, {os.environ['OMP_NUM_THREADS']} threads\n")
    found = {}
    for case in args.cases:
        ways = [way for way in args.ways if case != COMPILED or way in IN_PROGRAMS]
        progress = partial(tqdm, desc=case)
        found[case] = least_times(CASES[case](), ways, args.rounds, CLOCKS[args.clock], progress, tuple(args.off))
    print("| switched off | " + " | ".join(found) + " |\n|" + "---|" * (1 + len(found)))
    print("| (nothing, ms) | " + " | ".join(f"{1000 * times['']:.0f}" for times in found.values()) + " |")
    for way in [*args.ways, "all"]:
        print(
            f"| {way} | "
            + " | ".join(f"{times[way] / times['']:.2f}" if way in times else "" for times in found.values())
            + " |"
        )


if __name__ == "__main__":
    main()
