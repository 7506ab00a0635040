"""StableCascade: text -> prior -> decoder -> autoencoder -> images, in one object."""

import gc
from functools import cached_property, partial
from pathlib import Path

import paddle

from ldm import config
from ldm.common.memory import available, on_cpu
from ldm.compiled.cache import default_folder
from ldm.conditions import EncodedCaptions
from ldm.diffusion.noise import image_seeds
from ldm.frozen import open_release
from ldm.generation.memory import Networks, check_loading, check_room
from ldm.generation.request import GenerationRequest, GenerationSettings
from ldm.generation.sampling import caption_batch
from ldm.generation.work import Sizes
from ldm.model_b import ModelB, decoder_sampling
from ldm.model_c import ModelC, prior_sampling
from ldm.modes.mode import Context
from ldm.sizes import MINIMUM
from ldm.stage import checked_captions
from ldm.weights.release import Release, check_file, numbers_in, output_size


def native_size(release_folder, prior_version=None, prior_path=None, lora_path=None) -> int:
    """The image size in pixels that a prior, or its LoRA, was trained for, the sensible default: at least the MINIMUM.

    Reads headers only.
    """
    version = prior_version or config.model_c_version
    for path in filter(None, (prior_path, lora_path)):
        check_file(path)
    size = output_size(prior_path or Release(release_folder).file("stage_c", version))
    return max(MINIMUM, output_size(lora_path, size) if lora_path else size)


class StableCascade:
    """Prior and decoder over one set of frozen towers.

    Without arguments it reads config.py. prior_path: a fine-tuned prior instead of the release's. low_memory: of text tower,
    prior and decoder only the one at work is in memory, read anew whenever it is its turn; see `generate`.
    """

    def __init__(
        self,
        weights_path=None,
        prior_version=None,
        decoder_version=None,
        dtype=None,
        prior_path=None,
        low_memory: bool = False,
    ):
        if prior_path is not None:
            check_file(prior_path)
        self.frozen, self.dtype = open_release(weights_path, dtype)
        prior_version = prior_version or config.model_c_version
        decoder_version = decoder_version or config.model_b_version
        release = self.frozen.release
        self.paths = {
            "prior": prior_path or release.file("stage_c", prior_version),
            "decoder": release.file("stage_b", decoder_version),
        }
        common = {"dtype": self.dtype, "frozen": self.frozen}
        self._builders = {
            "prior": partial(ModelC, weights_path, prior_version, unet_path=prior_path, **common),
            "decoder": partial(ModelB, weights_path, decoder_version, **common),
        }
        self.low_memory, self._compile_options, self._loaded, self._had_room = low_memory, None, {}, 0
        check_loading(
            {name: numbers_in([path]) for name, path in self.paths.items()}, self.dtype, low_memory, available()
        )
        if not low_memory:
            for name in self._builders:
                self._stage(name)

    # Networks ---------------------------------------------------------------------------------------------------

    @property
    def prior(self) -> ModelC:
        return self._stage("prior")

    @property
    def decoder(self) -> ModelB:
        return self._stage("decoder")

    def _stage(self, name: str):
        if name not in self._loaded:
            self._make_room()
            stage = self._loaded[name] = self._builders[name]()
            if self._compile_options is not None:
                stage.compile(*self._compile_options)
        return self._loaded[name]

    def _make_room(self):
        """With low_memory, give up every network."""
        if self.low_memory:
            self._loaded.clear()
            self.frozen.give_up()
            give_back_memory()

    def load_lora(self, path, scale: float = 1.0):
        """Merge a LoRA of the prior, times `scale`, and its learned tokens, which the decoder's captions know then too.

        Several may be loaded after one another. ValueError, naming every key, for a LoRA of a prior of another size.
        """
        if self.low_memory:
            raise ValueError(
                f"{path}: a LoRA is merged into a prior that stays in memory, so it does not go with low_memory. Leave "
                "that out, or merge it into a file of its own (scripts/extract_unet_weights.py)."
            )
        check_file(path)
        self.prior.load_lora(path, scale)

    def use_loras(self, loras):
        """Have these (file, strength) in the prior and no others; none: leave it as it is."""
        wanted = tuple((str(Path(path)), float(scale)) for path, scale in loras)
        if wanted and (self.low_memory or wanted != self.prior.loaded_loras):
            if self.loras:
                self.unload_loras()
            for path, scale in wanted:
                self.load_lora(path, scale)

    def unload_loras(self):
        """Prior and text tower as their files have them."""
        if not self.low_memory:
            self.prior.unload_loras()

    def compile(self, folder=None, keep_weights: bool = True):
        """Generate by compiled programs from now on (CPU, float32), kept in `folder`, by default the user's cache.

        The first image of a size and batch size takes longer, and its programs the disk space of the weights, once.
        LoRAs are loaded before. keep_weights False saves memory where everything is of one size: see `ldm.compiled.unet`.
        """
        self._compile_options = (default_folder() if folder is None else folder, keep_weights)
        for stage in self._loaded.values():
            stage.compile(*self._compile_options)

    # Memory -----------------------------------------------------------------------------------------------------

    @cached_property
    def networks(self) -> Networks:
        """What a forecast needs to know of the files."""
        return Networks.read(self.frozen.release, self.frozen.files("text"), self.paths["prior"], self.paths["decoder"])

    def check_room(self, sizes: Sizes):
        """NotEnoughMemory, in one line with what would need less, for a generation that memory is not free for.

        What is in memory of the networks counts as free. Sizes that need no more than ones that went well are not asked
        about: memory that a process has freed is not the system's yet, but it is free for the same again.
        """
        if self.forecast(sizes).peak > self._had_room:
            held = 0 if self.low_memory else sum(self.networks.weights(self.dtype)[name] for name in self._loaded)
            check_room(self.networks, sizes, available() + max(held, self._had_room), **self._memory_options())

    def forecast(self, sizes: Sizes):
        """What a generation takes, in bytes by what they are for: a GenerationForecast."""
        return self.networks.forecast(sizes, **self._memory_options())

    def _memory_options(self) -> dict:
        compiled = self._compile_options is not None
        return {"dtype": self.dtype, "low_memory": self.low_memory, "compiled": compiled, "on_cpu": on_cpu()}

    # What it is -------------------------------------------------------------------------------------------------

    @property
    def loras(self) -> list[str]:
        """The LoRAs in the prior, and how strong."""
        return [] if self.low_memory else [f"{path} x {scale:g}" for path, scale in self.prior.loaded_loras]

    def identity(self) -> dict:
        """Which weights and precision made an image, for its metadata."""
        files = {name: str(path) for name, path in self.paths.items()}
        return {**files, **({"lora": self.loras} if self.loras else {}), "dtype": self.dtype}

    def describe(self) -> str:
        """One line for people: the networks in use."""
        prior, decoder = (f"{name} {path} ({numbers_in([path]) / 1e6:,.1f}M)" for name, path in self.paths.items())
        loras = "".join(f" with LoRA {lora}" for lora in self.loras)
        extras = [
            self.dtype,
            *(["compiled"] if self._compile_options else []),
            *(["low memory"] if self.low_memory else []),
        ]
        return f"{prior}{loras}, {decoder}, {', '.join(extras)}"

    # Images -----------------------------------------------------------------------------------------------------

    def __call__(self, caption, batch_size=1, settings=GenerationSettings(), progress=True):
        """`batch_size` images of one caption, or one of each of a list: uint8 (B, height, width, 3).

        Image i is the one that `settings.seed + i` gives on its own.
        """
        return next(self.each([caption], batch_size, settings, progress))

    def each(self, captions, batch_size=1, settings=GenerationSettings(), progress=True):
        """What `__call__` makes of every one of `captions`, one after the other."""
        return self.generate(settings.request(captions, batch_size), progress)

    def generate(self, request: GenerationRequest, progress=True):
        """The images of every caption of a request, one caption after the other: uint8 (batch_size, height, width, 3).

        With low_memory the text tower sees all captions first, then the prior, then the decoder, so that each is read
        once; what lies between them is small.
        """
        request.check()
        self.use_loras(request.loras)
        groups = [request.captions] if self.low_memory else [[caption] for caption in request.captions]
        sizes = Sizes.of(request, len(request.captions) if self.low_memory else 1)
        self.check_room(sizes)
        for group in groups:
            self._make_room()
            encoded = [self._encoded(caption_batch(caption, request.batch_size)) for caption in group]
            latents = [self._latent(captions, request, progress) for captions in encoded]
            for captions, latent in zip(encoded, latents, strict=True):
                images = self._images(captions, latent, request, progress)
                self._had_room = max(self._had_room, self.forecast(sizes).peak)
                yield images

    def _encoded(self, captions: list) -> EncodedCaptions:
        loras = [] if self.low_memory else self.prior.lora_paths
        return checked_captions(self.frozen, captions, loras)

    def _latent(self, captions: EncodedCaptions, request: GenerationRequest, progress: bool):
        prior, seeds = self.prior, image_seeds(request.seed, len(captions))
        inputs, context = prior.inputs(captions), Context(request, captions, self.frozen, prior)
        for mode in request.modes:
            inputs = mode.prior_inputs(inputs, context)
        settings = prior_sampling(request.steps, request.cfg)
        return prior.sample_inputs(inputs, request.height, request.width, seeds, settings, progress)

    def _images(self, captions: EncodedCaptions, latent, request: GenerationRequest, progress: bool):
        decoder, seeds, size = self.decoder, image_seeds(request.seed, len(captions)), (request.height, request.width)
        inputs, context = decoder.inputs(captions, latent, *size), Context(request, captions, self.frozen, decoder)
        for mode in request.modes:
            inputs = mode.decoder_inputs(inputs, context)
        settings = decoder_sampling(request.decoder_steps, request.decoder_cfg)
        images = decoder.finished(decoder.sample_inputs(inputs, *size, seeds, settings, progress), *size)
        for mode in request.modes:
            images = mode.finished(images, context)
        return images


def give_back_memory():
    """What no network uses any more is free for the next one."""
    gc.collect()
    if paddle.is_compiled_with_cuda():
        paddle.device.cuda.empty_cache()
