"""A UNet's step as a compiled program: traced once, its operations fused and computed by oneDNN. For CPUs, float32.

Tracing takes a while and writes the weights once more, so programs are kept in a folder; see `ldm.compiled.cache`.
What follows from the conditions is computed by the network itself, once per generation (`CascadeUNet.prepare`).
"""

import os
from functools import cache
from pathlib import Path

import paddle
from paddle import nn

from ldm.common.quiet import NO_OUT, without_lines
from ldm.common.runtime import has_avx512
from ldm.compiled.cache import ProgramCache, content_hash, source_hash
from ldm.networks.attention import MultiHeadAttention
from ldm.networks.blocks import FeedForwardBlock, ResBlock, TimestepBlock
from ldm.networks.layers.fast.switch import switched_off
from ldm.networks.stage_b import StageB
from ldm.networks.stage_c import StageC
from ldm.networks.unet import CascadeUNet, Prepared

PROGRAM, WEIGHTS = "step.json", "step.pdiparams"
LEFT_OUT = (  # of what Paddle does to a program
    "inplace_pass",  # wrong: a small prior came out as other numbers (Paddle 3.3.1)
    "fc_onednn_enable_pass",  # MKL's product is as fast, and needs no packed copy of the weights beside them
)
NAMES = {StageC: "Stage C", StageB: "Stage B"}


def check_compilable():
    """ValueError where nothing can be compiled."""
    if paddle.get_device() != "cpu":
        raise ValueError(
            f"Compiling is for CPUs, and this process computes on {paddle.get_device()}: leave out --compile."
        )
    if not paddle.base.core.is_compiled_with_mkldnn():
        raise ValueError(
            "This build of Paddle has no oneDNN, which compiled programs are computed by: leave out --compile, or "
            "install the official wheel."
        )


class CompiledUNet:
    """Stands in for a UNet where it generates, by its `bound`.

    folder: where programs are kept. keep_weights False: before a program is loaded, the network gives up the weights that
    the program has (about two thirds of them), and is of use to this object alone. One program is loaded at a time.
    """

    def __init__(self, network: CascadeUNet, folder, keep_weights: bool = True, say=print):
        check_compilable()
        if network.dtype != paddle.float32:
            raise ValueError(f"Only float32 is compiled, the network is {network.dtype}: leave out --compile.")
        if has_hooks(network):
            raise ValueError(
                "Something is attached to the network that is to be compiled: merge a LoRA into the weights before, and "
                "load a network anew whose weights were given up."
            )
        self.network, self.cache = network, ProgramCache(folder, (PROGRAM, WEIGHTS), say)
        self.keep_weights, self.say, self.complete = keep_weights, say, True
        self.weights = content_hash(network.state_dict())
        self.shapes, self.predictor = None, None  # of the program that is loaded

    @property
    def prediction_type(self) -> str:
        return self.network.prediction_type

    def bound(self, size, **conditions):
        """As `CascadeUNet.bound`: a function (x, r) -> its prediction (B, C, H, W), for `size` = (H, W)."""
        with paddle.no_grad():
            prepared = self.network.prepare(size, **conditions)
        tensors = given_tensors(prepared)
        batch = next(iter(conditions.values())).shape[0]
        self._load([[batch, self.network.c_in, *size], [batch], *(tensor.shape for tensor in tensors)])
        predictor = self.predictor
        return lambda x, r: predictor.run([x, r, *tensors])[0].clone()  # the next run writes into the same memory

    def _load(self, shapes):
        """Have the program for inputs of these shapes in `predictor`."""
        if shapes == self.shapes:
            return
        self.shapes = self.predictor = None  # its memory is free before the next one is loaded
        key = {
            "network": type(self.network).__name__,
            "weights": self.weights,
            "source": source_hash(),
            "shapes": [list(map(int, shape)) for shape in shapes],
            "dtype": "float32",
            "paddle": paddle.__version__,
            "avx512": has_avx512(),  # a program made for it ends the process elsewhere
            "formulas": switched_off(),
        }
        folder = self.cache.get(key, lambda temporary: self._export(temporary, shapes))
        if not self.keep_weights and self.complete:  # before the program's copy of them takes its place
            give_up_weights(self.network)
            self.complete = False
        try:
            self.predictor = open_program(folder)
        except Exception as error:  # whatever Paddle raises for a damaged file
            self.cache.discard(key)
            why = f"The compiled program in {folder} cannot be read ({' '.join(str(error).split()):.100})"
            if not self.complete:
                raise ValueError(f"{why} and has been removed: start again, which compiles it anew.") from error
            self.say(f"{why}: rebuilding.")
            self.predictor = open_program(self.cache.get(key, lambda temporary: self._export(temporary, shapes)))
        self.shapes = shapes

    def _export(self, folder: Path, shapes):
        if not self.complete:
            raise ValueError(
                f"There is no compiled program for inputs of shapes {shapes[0]}, and the weights to make it from have "
                "been given up for one of another shape: generate this size or batch in a run of its own."
            )
        size = sum(parameter.size for parameter in self.network.parameters()) * 4
        batch, _, *grid = shapes[0]
        self.say(
            f"Compiling {NAMES[type(self.network)]} for a batch of {batch} and {grid[0]} x {grid[1]} latents: once, "
            f"{size / 1e9:.1f} GB in {self.cache.folder}"
        )
        self.cache.check_room(size)
        export_step(self.network, shapes, folder)


class Step(nn.Layer):
    """`CascadeUNet.step` with all its inputs as a flat list, as programs have them."""

    def __init__(self, network: CascadeUNet):
        super().__init__()
        self.network = network

    def forward(self, x, r, given):
        return self.network.step(x, r, taken_tensors(given, len(self.network.attention_blocks())))


def given_tensors(prepared: Prepared) -> list:
    """The tensors of prepared conditions; ValueError where there is more to them than a program takes."""
    extra = [name for name, value in prepared.t_conds.items() if value is not None]
    if prepared.control is not None or extra:
        what = "ControlNet residuals" if prepared.control is not None else f"the conditions {', '.join(extra)}"
        raise ValueError(f"A compiled network takes no {what}: leave out --compile.")
    return [*prepared.keys_and_values, *([prepared.stem] if prepared.stem is not None else [])]


def taken_tensors(given, blocks: int) -> Prepared:
    """The inverse of `given_tensors`."""
    return Prepared(given[:blocks], given[blocks] if len(given) > blocks else None)


def export_step(network: CascadeUNet, shapes, folder: Path):
    """Trace the step for x, r and given tensors of these shapes; write PROGRAM and WEIGHTS into `folder`."""
    x, r, *given = (paddle.static.InputSpec([int(side) for side in shape], "float32") for shape in shapes)
    step = Step(network)
    step.eval()
    take_tracing_notice()
    traced = paddle.jit.to_static(step, input_spec=[x, r, given], full_graph=True)
    paddle.jit.save(traced, str(folder / Path(PROGRAM).stem))


@cache
def take_tracing_notice():
    """Have what Paddle says at the first operation that a process traces said about this one, to nobody."""

    def doubled(x):
        return x + x

    with without_lines(NO_OUT):
        paddle.jit.to_static(doubled, [paddle.static.InputSpec([1])], full_graph=True).concrete_program


def open_program(folder: Path, left_out=LEFT_OUT):
    """A predictor for the program in `folder`, with as many threads as the rest of the process.

    left_out: Paddle's changes to the program that are not made.
    """
    from paddle.inference import Config, create_predictor

    config = Config(str(folder / PROGRAM), str(folder / WEIGHTS))
    config.disable_gpu()
    config.enable_new_ir(True)
    config.enable_new_executor(True)
    config.enable_mkldnn()
    for name in left_out:
        config.delete_pass(name)
    config.set_cpu_math_library_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    config.disable_glog_info()
    return create_predictor(config)


def has_hooks(network: nn.Layer) -> bool:
    """Whether anything takes part in the network's outputs that its weights do not show, such as an attached LoRA."""
    layers = network.sublayers(include_self=True)
    return any(
        layer._forward_post_hooks or layer._forward_pre_hooks or getattr(layer, "in_proj_update", None)
        for layer in layers
    )


def clear(layer: nn.Layer):
    """Free a layer's weights."""
    for parameter in layer.parameters():
        parameter._clear_data()


def give_up_weights(network: CascadeUNet):
    """Free what `prepare` does not need of a network: all of its blocks but what makes keys and values."""
    for layer in network.sublayers():
        if isinstance(layer, (ResBlock, FeedForwardBlock, TimestepBlock)):
            clear(layer)
        elif isinstance(layer, MultiHeadAttention):
            clear(layer.out_proj)

    def refuse(layer, inputs):
        raise ValueError("This network gave up its weights to a compiled program: load it again to use it itself.")

    network.register_forward_pre_hook(refuse)
