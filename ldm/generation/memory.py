"""How much memory a generation takes, from files' headers and sizes alone: a sum of terms that can be read.

peak = libraries + pictures + weights in memory together + the most that a network at work holds, with the heap's holes

Counted tensor by tensor for eager mode on a CPU and measured there (benchmarks/generation_memory.py): with the demo, from
256 x 256 to 1024 x 1024 pixels and batches of 1 to 16, it is at most 7 % below or above what the process takes, with the
1B prior and the 700M decoder at most 3 %. On a GPU nothing was measured: there only weights are refused by it.
"""

import inspect
import math
from dataclasses import dataclass, replace

from ldm import config
from ldm.common.memory import gib
from ldm.frozen import open_release
from ldm.generation.work import FLOAT32, TOKENS, Sizes, decoder_work, prior_work, stage_a_work, unet_levels
from ldm.sizes import prior_grid
from ldm.weights.release import Release, network_class, network_config, numbers_in

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
HEAP = 1.4  # a CPU's heap relative to the tensors that come and go in it, measured: 1.25 to 1.5
LIBRARIES = 270 << 20  # CLIP's library, imported with the text tower, and what kernels and threads keep; measured
COMPILED = 1.5  # weights of a program, what is kept of its network and holes of what is not, relative to them; measured
PICTURE, SHEET = 3, 14  # bytes per pixel: uint8; sheet as image, as array and as PNG is written
NAMES = {"text": "text tower", "prior": "prior", "decoder": "decoder", "stage_a": "Stage A", "previewer": "previewer"}
TURNS = (("text",), ("prior",), ("decoder", "stage_a", "previewer"))  # what low_memory has in memory together


@dataclass(frozen=True)
class GenerationForecast:
    """Bytes by what they are for. weights: of each network; work: what each holds while it is at work."""

    weights: dict
    work: dict
    low_memory: bool = False
    compiled: bool = False  # programs keep what they have worked in, so that all of it is there together
    between: int = 0  # captions and latents that wait for the next network, with low_memory
    pictures: int = 0
    libraries: int = LIBRARIES
    on_cpu: bool = True

    def taken_by(self, names) -> int:
        """The most while these networks are in memory and one after the other is at work."""
        return sum(self.weights.get(name, 0) for name in names) + self.work_of(names)

    def work_of(self, names) -> int:
        """What networks at work one after the other hold beside their weights."""
        return (sum if self.compiled else max)(self.work.get(name, 0) for name in names)

    @property
    def peak(self) -> int:
        """The most at one time, beyond what the process has before anything is loaded."""
        groups = TURNS if self.low_memory else [sum(TURNS, ())]
        return self.libraries + self.between + self.pictures + max(map(self.taken_by, groups))

    @property
    def least(self) -> int:
        """What a generation certainly needs: the peak on a CPU; on a GPU the weights, for nothing else was measured there."""
        if self.on_cpu:
            return self.peak
        groups = TURNS if self.low_memory else [sum(TURNS, ())]
        return max(sum(self.weights.get(name, 0) for name in names) for names in groups)

    def described(self) -> str:
        """The sum in GiB, for people."""
        group = max(TURNS, key=self.taken_by) if self.low_memory else sum(TURNS, ())
        busy = max(group, key=lambda name: self.work.get(name, 0))
        parts = [(NAMES[name], self.weights.get(name, 0)) for name in group]
        parts += [(f"{NAMES[busy]} at work", self.work_of(group)), ("waiting latents", self.between)]
        parts += [("pictures", self.pictures), ("libraries", self.libraries)]
        shown = " + ".join(f"{name} {gib(size)}" for name, size in parts if size >= 1 << 20)
        return f"{gib(self.peak)} GiB = {shown}"


@dataclass(frozen=True)
class Networks:
    """The files of a cascade and what their headers say: everything that a forecast needs, read once."""

    numbers: dict  # of each network
    prior: dict  # constructor arguments
    decoder: dict
    stage_a: dict
    text_width: int

    @classmethod
    def read(cls, release: Release, text_files, prior_path, decoder_path) -> "Networks":
        """FileNotFoundError, ValueError for files that are missing, damaged or of another network."""
        paths = {"prior": prior_path, "decoder": decoder_path, "stage_a": release.file("stage_a")}
        kinds = {"prior": "stage_c", "decoder": "stage_b", "stage_a": "stage_a"}
        built = {name: arguments(kinds[name], network_config(path, kinds[name])) for name, path in paths.items()}
        for name in ("prior", "decoder"):
            try:
                unet_levels(built[name])
            except ValueError as error:  # of arguments that do not go together
                raise ValueError(f"{paths[name]}: its metadata's config cannot be built: {error}") from error
        if built["decoder"]["sees_preview"]:
            paths["previewer"] = release.file("previewer")
        numbers = {name: numbers_in([path]) for name, path in paths.items()}
        numbers["text"] = numbers_in(text_files)
        return cls(numbers, **built, text_width=built["prior"]["c_clip_text"])

    def weights(self, dtype: str) -> dict:
        """Bytes of each network in memory; towers and autoencoder stay float32."""
        return {
            name: count * (BYTES[dtype] if name in ("prior", "decoder") else FLOAT32)
            for name, count in self.numbers.items()
        }

    def forecast(self, sizes: Sizes, dtype="float32", low_memory=False, compiled=False, on_cpu=True):
        """A GenerationForecast."""
        weights = self.weights(dtype)
        if compiled:
            weights |= {name: int(COMPILED * weights[name]) for name in ("prior", "decoder")}
        work = {
            "prior": prior_work(self.prior, sizes, on_cpu),
            "decoder": decoder_work(self.decoder, sizes, on_cpu),
            "stage_a": stage_a_work(self.stage_a, sizes, on_cpu),
        }
        if on_cpu:
            work = {name: int(HEAP * size) for name, size in work.items()}
        waiting = sizes.captions * sizes.batch * FLOAT32
        waiting *= TOKENS * self.text_width + self.prior["c_in"] * math.prod(prior_grid(sizes.height, sizes.width))
        pictures = sizes.height * sizes.width * (sizes.images * (PICTURE + SHEET) + sizes.batch * PICTURE)
        libraries = LIBRARIES if on_cpu else 0
        waiting = waiting if low_memory else 0
        return GenerationForecast(weights, work, low_memory, compiled, waiting, pictures, libraries, on_cpu)


def arguments(kind: str, config: dict) -> dict:
    """All constructor arguments of a network, those that `config` leaves out by their defaults."""
    signature = inspect.signature(network_class(kind))
    return {name: config.get(name, parameter.default) for name, parameter in signature.parameters.items()}


def networks_of(release_folder, prior_version=None, decoder_version=None, prior_path=None) -> Networks:
    """What a forecast of memory needs to know of a cascade's files; reads headers only. Errors as of reading them."""
    frozen, _ = open_release(release_folder, "float32")
    release = frozen.release
    prior = prior_path or release.file("stage_c", prior_version or config.model_c_version)
    decoder = release.file("stage_b", decoder_version or config.model_b_version)
    return Networks.read(release, frozen.files("text"), prior, decoder)


# Whether there is room ------------------------------------------------------------------------------------------------


class NotEnoughMemory(ValueError):
    """A generation that would be killed; the message has the numbers and what would need less."""


def check_loading(numbers: dict, dtype: str, low_memory: bool, free: int):
    """NotEnoughMemory unless `free` bytes are enough for {network: numbers}, or for the largest with low_memory."""
    each = {name: BYTES[dtype] * count for name, count in numbers.items()}
    needed = max(each.values()) if low_memory else sum(each.values())
    if needed > free:
        listed = " + ".join(f"{name} {gib(size)}" for name, size in each.items())
        remedy = "this machine has too little memory for them"
        if not low_memory and max(each.values()) <= free:
            remedy = "use low_memory, which has one of them at a time in memory (--low_memory)"
        raise NotEnoughMemory(f"The weights need {gib(needed)} GiB ({listed}), and {gib(free)} GiB are free: {remedy}.")


def check_room(networks: Networks, sizes: Sizes, free: int, **options) -> GenerationForecast:
    """NotEnoughMemory unless `free` bytes are enough for networks.forecast(sizes, **options), with remedies that would be."""
    forecast_of = networks.forecast
    forecast = forecast_of(sizes, **options)
    if forecast.least <= free:
        return forecast
    smaller = [
        (name, forecast_of(changed, **{**options, **more}).least) for name, changed, more in _remedies(sizes, options)
    ]
    helpful = [f"{name} ({gib(peak)} GiB)" for name, peak in smaller if peak <= free]
    remedy = f"use {' or '.join(helpful)}" if helpful else "this machine has too little memory for these weights"
    raise NotEnoughMemory(
        f"A batch of {sizes.batch} at {sizes.height} x {sizes.width} pixels needs {forecast.described()}, and "
        f"{gib(free)} GiB are free: {remedy}."
    )


def _remedies(sizes: Sizes, options: dict):
    """(flag, sizes, options) of what could be asked for instead, each on its own and then together."""
    batch, side = max(1, sizes.batch // 2), max(256, min(sizes.height, sizes.width) // 2)
    if sizes.batch > 1:
        yield f"--batch_size {batch}", replace(sizes, batch=batch), {}
        yield "--batch_size 1", replace(sizes, batch=1), {}
    if max(sizes.height, sizes.width) > 256:
        yield f"--height {side} --width {side}", replace(sizes, height=side, width=side), {}
    if sizes.images:
        yield "no --contact_sheet", replace(sizes, images=0), {}
    if options.get("dtype") == "float32" and not options.get("on_cpu", True):
        yield "--dtype bfloat16", sizes, {"dtype": "bfloat16"}
    if options.get("compiled"):
        yield "no --compile", sizes, {"compiled": False}
    if not options.get("low_memory"):
        yield "--low_memory", sizes, {"low_memory": True}
        smallest = replace(sizes, height=256, width=256, batch=1, images=0)
        yield "--low_memory --batch_size 1 --height 256 --width 256", smallest, {"low_memory": True}
