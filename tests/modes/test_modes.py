"""A mode is its options and what it changes: flags, metadata and images follow without another line of code."""

from dataclasses import dataclass

import numpy as np
import pytest
from helpers import run_python

import ldm.generation.request
import ldm.modes
from ldm.common.cli.flags import Parser
from ldm.generation.request import GenerationRequest, GenerationSettings, add_request_flags, request_of_flags
from ldm.images import read_settings
from ldm.modes.mode import Mode, option
from ldm.pipeline import StableCascade


@dataclass(frozen=True)
class Tile(Mode):
    """The image several times side by side, of half the guidance that text has."""

    name = "tile"
    tiles: int = option(1, int, "how often the image stands side by side")

    def check(self, request):
        if self.tiles < 1:
            raise ValueError(f"--tiles {self.tiles}: ask for 1 or more.")

    def prior_inputs(self, inputs, context):
        text = inputs.conditions["clip_text"] * 0.5
        return inputs.changed(conditions=inputs.conditions | {"clip_text": text})

    def finished(self, images, context):
        return np.concatenate([images] * self.tiles, axis=2)


@pytest.fixture(autouse=True)
def with_tile(monkeypatch):
    for module in (ldm.modes, ldm.generation.request):
        monkeypatch.setattr(module, "MODES", (Tile,))


def parsed(*flags, **more):
    parser = Parser()
    add_request_flags(parser)
    return request_of_flags(parser.parse_args(list(flags)), 1024, **more)


def test_a_mode_is_there_when_one_of_its_options_is_given():
    assert parsed().modes == () and parsed("--tiles", "1").modes == ()
    request = parsed("--tiles", "3", "--width", "512", captions=("a fox",))
    assert request.modes == (Tile(3),) and (request.height, request.width) == (1024, 512)
    with pytest.raises(ValueError, match="--tiles 0: ask for 1 or more"):
        parsed("--tiles", "0", captions=("a fox",)).check()
    with pytest.raises(ValueError, match="captions is empty"):
        parsed().check()


def test_the_metadata_make_the_request_again():
    request = parsed("--tiles", "2", "--seed", "5", "--cfg", "3", captions=("a fox", "a boat"), batch_size=2)
    record = request.record("a boat", 1)
    again = GenerationRequest.from_record(record)
    assert again == GenerationSettings(seed=6, cfg=3.0).request(["a boat"], modes=(Tile(2),))
    assert again.record("a boat") == record and "modes" not in parsed().record("x")


@pytest.mark.parametrize(
    "change", [{"modes": {"unknown": {}}}, {"modes": {"tile": {"x": 1}}}, {"steps": 0}, {"modes": 3}, {"seed": None}]
)
def test_other_metadata_are_refused(change):
    with pytest.raises(ValueError):
        GenerationRequest.from_record({**parsed("--tiles", "2").record("a fox"), **change})
    incomplete = parsed().record("a fox")
    del incomplete["cfg"]
    with pytest.raises(ValueError, match="no settings of an image that this version can make .*cfg"):
        GenerationRequest.from_record(incomplete)


def test_a_mode_changes_what_is_sampled_and_what_comes_out(rule_release):
    cascade = StableCascade(rule_release)
    settings = GenerationSettings(256, 256, steps=2, decoder_steps=1)
    [plain] = cascade.generate(settings.request(["a fox"]), progress=False)
    [tiled] = cascade.generate(settings.request(["a fox"], modes=(Tile(2),)), progress=False)
    assert tiled.shape == (1, 256, 512, 3) and np.array_equal(tiled[:, :, :256], tiled[:, :, 256:])
    assert not np.array_equal(tiled[:, :, :256], plain)
    assert np.array_equal(plain, cascade("a fox", settings=settings, progress=False))


def test_inference_has_its_flags_and_the_png_its_options(capsys, rule_release, tmp_path):
    import inference

    flags = ["--height", "256", "--width", "256", "--steps", "1", "--decoder_steps", "1", "--tiles", "2"]
    flags += ["--weights", str(rule_release), "--output_dir", str(tmp_path), "--caption", "a fox"]
    assert inference.main(flags) == 0
    settings = read_settings(tmp_path / "result_0.png")
    assert settings["modes"] == {"tile": {"tiles": 2}}
    assert GenerationRequest.from_record(settings).modes == (Tile(2),)


def test_flags_are_known_before_paddle_is_there():
    code = "import sys, ldm.programs.generate as g; g.make_parser(); print('paddle' in sys.modules)"
    assert run_python(code).strip() == "False"
