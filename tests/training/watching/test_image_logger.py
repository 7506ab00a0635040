"""What a run shows of itself: base, weights and average of fixed captions, cheap and full, without changing the run."""

import json
import shutil

import numpy as np
import paddle
import pytest
from small_release import write_scenes_and_release

from ldm.images import read_settings
from ldm.model_b import ModelB
from ldm.model_c import ModelC
from ldm.pipeline import GenerationSettings, StableCascade
from ldm.training.checkpoints.files import read_state
from ldm.training.flags.arguments import parse_into
from ldm.training.run import build_trainer, train
from ldm.training.tasks import prior
from ldm.training.watching import callbacks
from ldm.training.watching.noise_level_losses import loss_names
from ldm.training.watching.pictures import Pictures

CAPTIONS = ["a red star", "a blue circle"]
LOOKS = "--image_logging_steps 2 --full_image_logging_steps 4 --num_inference_steps 1 --image_logging_size 256"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_scenes_and_release(tmp_path_factory.mktemp("looks"))


def groups(folder, output, flags="", captions=CAPTIONS):
    command = (
        f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --resolution 64 --seed 5 "
        f"--output_dir {output} --max_steps 4 --save_steps 2 --per_device_train_batch_size 4 --learning_rate 1e-2 "
        f"--ema_decay 0.5 --logging_steps 2 --loss_weight none {flags}"
    )
    more = ["--image_logging_captions", *captions] if captions else []
    return prior.build_task, *parse_into(prior.GROUPS, [*command.split(), *more])


def recorded(monkeypatch):
    """{(name, step): {column: pictures}} of every sheet that is made from now on."""
    sheets, made = {}, callbacks.sheet_of

    def sheet_of(pictures, base, step, columns):
        sheets[pictures.name, step] = {"base": base, **columns}
        return made(pictures, base, step, columns)

    monkeypatch.setattr(callbacks, "sheet_of", sheet_of)
    return sheets


@pytest.fixture(scope="module")
def watched(folder, tmp_path_factory):
    """A run that looks at everything: its output folder, its sheets, its trainer, and the latents that were decoded."""
    output, latents, decode = tmp_path_factory.mktemp("watched") / "out", [], ModelB.log_image

    def log_image(self, latent, *arguments, **options):
        latents.append(latent.numpy())
        return decode(self, latent, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch, paddle.utils.unique_name.guard():
        sheets = recorded(patch)
        patch.setattr(ModelB, "log_image", log_image)
        trainer = build_trainer(*groups(folder, output, LOOKS))
        trainer.train()
        trainer.save_model()
        trainer.save_state()
    return output, sheets, trainer, latents


def model_with(folder, state=None):
    """The prior of the release, or with the weights of a state."""
    model = ModelC(folder / "release", dtype="float32")
    if state is not None:
        model.set_state_dict({key: paddle.to_tensor(value) for key, value in state.items()})
    return model


def previews(folder, state=None):
    """What it shows of the captions."""
    return model_with(folder, state).log_image(CAPTIONS, 256, 256, batch_size=2, seed=0, steps=1, progress=False)[0]


def test_columns_are_the_base_the_weights_and_their_average(folder, watched):
    output, sheets, *_ = watched
    assert set(sheets) == {("preview", 0), ("preview", 2), ("preview", 4), ("full", 0), ("full", 4)}
    last = sheets["preview", 4]
    expected = {
        "base": previews(folder),
        "step 4": previews(folder, read_state(output)[1]),
        "average at step 4": previews(folder, read_state(output, ema=True)[1]),
    }
    assert list(last) == list(expected)
    for title, images in expected.items():
        assert np.array_equal(np.stack(last[title]), images), title
    columns = [np.stack(images).astype(int) for images in expected.values()]
    assert all(np.abs(columns[a] - columns[b]).mean() > 0.1 for a, b in ((0, 1), (0, 2), (1, 2)))
    assert np.array_equal(sheets["preview", 0]["step 0"], expected["base"])


def test_full_pictures_are_what_inference_makes(folder, watched):
    output, sheets, trainer, latents = watched
    cascade = StableCascade(folder / "release", dtype="float32")
    for seed, caption in enumerate(CAPTIONS):
        settings = GenerationSettings(256, 256, seed=seed, steps=1)
        expected = cascade(caption, 1, settings, progress=False)[0]
        assert np.array_equal(sheets["full", 4]["base"][seed], expected)
    assert {np.stack(images).shape for images in sheets["full", 4].values()} == {(2, 256, 256, 3)}
    # This untrained decoder takes little notice of the prior: what it was given is compared instead
    states = [None, read_state(output)[1], read_state(output, ema=True)[1]]
    assert len(latents) == 2 * len(states)
    for state, pair in zip(states, (latents[:2], latents[2:4], latents[4:])):
        model = model_with(folder, state)
        for seed, caption in enumerate(CAPTIONS):
            expected = model.sample([caption], 256, 256, seeds=(seed,), steps=1, progress=False).numpy()
            assert np.array_equal(pair[seed], expected)
    assert not np.array_equal(latents[0], latents[2]) and not np.array_equal(latents[2], latents[4])
    assert "stage_a" not in trainer.task.model.frozen.__dict__  # nor has anything else kept the decoder
    [pictures] = [p for p in trainer.task.pictures if p.name == "full"]
    assert pictures.using.__self__.decoder is None


def test_sheets_are_files_with_settings_and_in_visualdl(watched):
    output = watched[0]
    names = [path.name for path in sorted((output / "pictures").glob("*.png"))]
    assert names == [f"step_{name}.png" for name in ("000000", "000000_full", "000002", "000004", "000004_full")]
    settings = read_settings(output / "pictures" / "step_000004_full.png")
    assert settings["captions"] == CAPTIONS and settings["step"] == 4 and settings["decoder_steps"] == 10
    content = b"".join(path.read_bytes() for path in (output / "runs").rglob("vdlrecords.*.log"))
    tags = (b"preview", b"full", b"train/loss_t", b"train/samples_per_second", b"train/peak_memory_gib")
    assert all(tag in content for tag in tags)


def test_what_is_logged_beside_the_loss(watched):
    history = json.loads((watched[0] / "trainer_state.json").read_text())["log_history"]
    first, second = [entry for entry in history if "loss" in entry]
    for entry in (first, second):
        found = {name: value for name, value in entry.items() if name.startswith("loss_t")}
        # 8 samples in 10 levels; unweighted as the loss is here, so the mean lies between the levels'
        assert 2 <= len(found) <= 8 and set(found) <= set(loss_names())
        assert min(found.values()) <= entry["loss"] <= max(found.values())
        assert entry["samples_per_second"] > 0 and 0 <= entry["data_wait_share"] < 1 and entry["peak_memory_gib"] > 0.1
    assert first["eta_seconds"] > 0 and second["eta_seconds"] == 0 and 0 < second["aside_share"] < 1


def test_looking_changes_nothing(folder, watched, tmp_path):
    """Weights, average, optimiser and every random generator, bit for bit, as of a run that looks at nothing."""
    with paddle.utils.unique_name.guard():
        train(*groups(folder, tmp_path / "silent", captions=()))
    for checkpoint in ("checkpoint-2", "checkpoint-4"):
        silent, seen = (path / checkpoint for path in (tmp_path / "silent", watched[0]))
        assert (silent / "ema.safetensors").read_bytes() == (seen / "ema.safetensors").read_bytes()
        for file in ("model_state.pdparams", "optimizer.pdopt", "rng_state.pth"):
            ours, expected = (paddle.load(str(path / file), return_numpy=True) for path in (seen, silent))
            check_same(ours, expected, file)
    losses = [
        [
            entry["loss"]
            for entry in json.loads((path / "trainer_state.json").read_text())["log_history"]
            if "loss" in entry
        ]
        for path in (tmp_path / "silent", watched[0])
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 2


def check_same(ours, expected, where):
    if isinstance(expected, dict):
        assert ours.keys() == expected.keys(), where
        for key, value in expected.items():
            check_same(ours[key], value, f"{where} {key}")
    elif isinstance(expected, (list, tuple)):
        assert len(ours) == len(expected), where
        for one, other in zip(ours, expected):
            check_same(one, other, where)
    elif isinstance(expected, (np.ndarray, int, float, str)):
        assert np.array_equal(ours, expected), where


def test_the_base_is_kept_and_else_made_from_what_the_run_began_with(folder, watched, tmp_path, monkeypatch):
    output, before, *_ = watched
    sheets, counted, made = recorded(monkeypatch), [], Pictures.made
    monkeypatch.setattr(Pictures, "made", lambda self: counted.append(self.name) or made(self))
    for name in ("with_base", "without"):
        shutil.copytree(output / "checkpoint-2", tmp_path / name / "checkpoint-2")
    shutil.copytree(output / "pictures" / "base", tmp_path / "with_base" / "pictures" / "base")
    flags = LOOKS.replace("--full_image_logging_steps 4", "")
    for name, expected in (("with_base", 4), ("without", 5)):  # at 2 and 4, each of weights and average; and the base
        counted.clear()
        sheets.clear()
        with paddle.utils.unique_name.guard():
            train(*groups(folder, tmp_path / name, flags))
        assert len(counted) == expected, name
        for title, images in before["preview", 4].items():
            assert np.array_equal(sheets["preview", 4][title], images), (name, title)


def test_nan_in_a_picture_of_training_is_refused_and_blamed(folder):
    model = ModelC(folder / "release", dtype="float32")
    bias = model.unet.clf[1].bias
    bias.set_value(bias * 0 + float("nan"))
    with pytest.raises(
        FloatingPointError, match="clf.1.bias is not finite in memory and finite in .*stage_c_lite.safetens"
    ):
        model.log_image(CAPTIONS, 256, 256, batch_size=2, steps=1, progress=False)


def test_captions_from_files_and_a_single_one_twice(folder, tmp_path):
    (tmp_path / "captions.txt").write_text("one\n\ntwo\n")
    group = groups(folder, tmp_path, "--image_logging_steps 1", captions=[str(tmp_path / "captions.txt"), "three"])
    assert group[1].image_logging_captions == ["one", "two", "three"]
    single = groups(folder, tmp_path, "--image_logging_steps 1 --image_logging_caption x", captions=())
    assert prior.shown_captions(single[1], None) == ["x", "x"]


@pytest.mark.parametrize(
    "flags, captions, message",
    [
        ("--image_logging_caption x", CAPTIONS, "leave one of them out"),
        ("", ["nowhere.txt"], "nowhere.txt does not exist"),
        ("--full_image_logging_steps -1", (), "must be at least 0"),
    ],
)
def test_refused_flags(folder, tmp_path, flags, captions, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        groups(folder, tmp_path, flags, captions)


@pytest.mark.parametrize("missing", ["stage_a", "stage_b_lite"])
def test_full_pictures_without_a_decoder_are_refused_before_anything_is_read(folder, tmp_path, missing):
    shutil.copytree(folder / "release", tmp_path / "release")
    (tmp_path / "release" / f"{missing}.safetensors").unlink()
    (tmp_path / "release" / "stage_c_lite.safetensors").write_bytes(b"not read")
    flags = f"--full_image_logging_steps 1 --weights_path {tmp_path / 'release'}"
    with pytest.raises(FileNotFoundError, match=f"--full_image_logging_steps: .*{missing}"):
        build_trainer(*groups(folder, tmp_path / "out", flags))
