"""A second set mixed in: its share exact, its order a function of the seed, restarts and ranks as without it."""

import json
import shutil
from fractions import Fraction

import numpy as np
import paddle
import pytest
from small_release import write_scenes_and_release

import inference
from ldm.data.buckets import AspectBuckets
from ldm.data.feature_cache import FeatureCache
from ldm.data.sources.mix import Mix
from ldm.demo.scenes.dataset import SceneSettings, write_scenes
from ldm.frozen import open_release
from ldm.training.batches.cached import recipe_of_dataset
from ldm.training.batches.data import open_dataset
from ldm.training.batches.fill_cache import fill_cache
from ldm.training.batches.order import RunSampler, SampleStream, epoch_order
from ldm.training.flags.arguments import parse_into
from ldm.training.run import build_trainer, train
from ldm.training.tasks import prior

OWN, OTHER = 10, 7


class Mixed(list):
    """What RunSampler asks of a SampleSet of two sets."""

    buckets = None

    def __init__(self, share, sizes=None):
        super().__init__(range(OWN + OTHER))
        self.mix = Mix.of(OWN, OTHER, share)
        if sizes is not None:
            self.buckets = AspectBuckets(128, np.array(sizes), 0.2)


SIZES = [(100, 100)] * 6 + [(200, 100)] * 4 + [(100, 100)] * 4 + [(200, 100)] * 3


def batches(share=0.5, size=4, total=60, seed=3, replicas=1, rank=0, consumed=0, sizes=None):
    sampler = RunSampler(Mixed(share, sizes), size, total, seed, replicas, rank)
    sampler.set_epoch(consumed_samples=consumed)
    return [[(int(view), view.epoch, view.bucket) for view in batch] for batch in sampler]


def test_without_a_second_set_the_order_is_what_it_was():
    members = SampleStream(5, OWN).members(0, 3 * OWN)
    for epoch in range(3):
        part = members[epoch * OWN : (epoch + 1) * OWN]
        assert (part[:, 0] == epoch).all() and np.array_equal(part[:, 1], epoch_order(5, epoch, OWN))
    assert np.array_equal(SampleStream(5, OWN).members(7, 9), members[7:16])


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1, 2 / 3])
def test_every_batch_has_its_share(share):
    counts = [sum(index >= OWN for index, *_ in batch) for batch in batches(share, size=6, total=50)]
    assert all(abs(count - 6 * share) < 1 for count in counts)
    assert abs(sum(counts) - 300 * share) < 1
    assert Mix.of(1, 1, 2 / 3).share == Fraction(2, 3)


def test_each_set_goes_through_its_own_shuffled_epochs():
    flat = [view for batch in batches(0.25, total=100) for view in batch]
    for first, count in ((0, OWN), (OWN, OTHER)):
        seen = [(epoch, index) for index, epoch, _ in flat if first <= index < first + count]
        epochs = [[index for e, index in seen if e == epoch] for epoch in range(seen[-1][0])]
        assert len(epochs) > 5 and all(sorted(epoch) == list(range(first, first + count)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 5


@pytest.mark.parametrize("sizes", [None, SIZES])
def test_restarts_seeds_and_ranks(sizes):
    whole = batches(sizes=sizes)
    for done in (0, 1, 29, 60):
        assert batches(consumed=4 * done, sizes=sizes) == whole[done:]
    assert batches(seed=4, sizes=sizes) != whole
    ranks = [batches(size=2, replicas=2, rank=rank, sizes=sizes) for rank in (0, 1)]
    assert whole == [first + second for first, second in zip(*ranks)]


def test_buckets_keep_the_share_and_one_shape_per_batch():
    found = batches(0.5, total=300, sizes=SIZES)
    assert all(len({bucket for *_, bucket in batch}) == 1 and len(batch) == 4 for batch in found)
    flat = [view for batch in found for view in batch]
    assert abs(np.mean([index >= OWN for index, *_ in flat]) - 0.5) < 0.02
    assert len({view[:2] for view in flat}) == len(flat)  # no sample twice in an epoch of its set


# Runs ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve scenes, a release, and six other scenes to preserve."""
    folder = write_scenes_and_release(tmp_path_factory.mktemp("preservation"), dropout=0.0)
    write_scenes(folder / "kept", SceneSettings(6, 96, seed=9), 1, iter)
    return folder


def groups(folder, output, flags=""):
    command = (
        f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --output_dir {output} "
        f"--preservation_path {folder / 'kept'} --resolution 64 --per_device_train_batch_size 4 --learning_rate 1e-3 "
        f"--seed 3 {flags}"
    )
    return prior.build_task, *parse_into(prior.GROUPS, command.split())


def test_a_resumed_run_ends_the_same_and_both_sets_are_watched(folder, tmp_path):
    flags = "--max_steps 4 --save_steps 2 --image_logging_steps 4 --num_inference_steps 1"
    with paddle.utils.unique_name.guard():
        train(*groups(folder, tmp_path / "whole", flags))
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "continued" / "checkpoint-2")
    with paddle.utils.unique_name.guard():
        train(*groups(folder, tmp_path / "continued", flags))
    whole, continued = (
        paddle.load(str(tmp_path / name / "model_state.pdparams"), return_numpy=True) for name in ("whole", "continued")
    )
    for key, value in whole.items():
        assert not isinstance(value, np.ndarray) or np.array_equal(continued[key], value), key
    history = json.loads((tmp_path / "whole" / "trainer_state.json").read_text())["log_history"]
    losses = [entry for entry in history if "fixed_loss" in entry]
    assert len(losses) == 2 and all(entry["fixed_loss_preserved"] != entry["fixed_loss"] for entry in losses)


def test_the_cache_holds_both_sets_and_gives_the_same_order(folder, tmp_path):
    plain = build_trainer(*groups(folder, tmp_path / "plain", "--max_steps 3"))
    data = plain.train_dataset
    frozen, _ = open_release(folder / "release", "float32")
    flags = f"--max_steps 3 --feature_cache {tmp_path / 'cache'}"
    with pytest.raises(ValueError, match="no features of these encoders"):
        build_trainer(*groups(folder, tmp_path / "none", flags))
    cache = FeatureCache(tmp_path / "cache", {**recipe_of_dataset(frozen, data), "dtype": "float32"})
    assert fill_cache(frozen, data, cache) == 18
    cached = build_trainer(*groups(folder, tmp_path / "cached", flags))
    orders = [[list(map(int, batch)) for batch in trainer._get_train_sampler()] for trainer in (plain, cached)]
    assert orders[0] == orders[1] and all(sum(index >= 12 for index in batch) == 2 for batch in orders[0])
    assert cached.fixed_loss(first=12) == pytest.approx(plain.fixed_loss(first=12), rel=1e-5)


def test_items_labels_and_epochs(folder, tmp_path):
    trainer = build_trainer(*groups(folder, tmp_path, "--num_train_epochs 2 --preservation_share 0.25"))
    dataset = trainer.train_dataset
    assert len(dataset) == 18 and str(folder / "kept") in dataset.source.label(12)
    kept = open_dataset(parse_into(prior.GROUPS, ["--do_train", "--output_dir", "x", "--resolution", "64",
                                                  "--dataset_path", str(folder / "kept")])[1])  # fmt: skip
    assert np.array_equal(dataset[13]["image"], kept[1]["image"]) and dataset[13]["caption"] == kept[1]["caption"]
    assert len({dataset.source.name(index) for index in range(18)}) == 18
    trainer.get_train_dataloader()
    assert trainer.args.max_steps == 8  # 2 x 12 own samples are three quarters of 32, four a step


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--preservation_path kept --preservation_share 0", "at least 0.001 and at most 0.999"),
        ("--preservation_path kept --preservation_share 1", "at least 0.001 and at most 0.999"),
        ("--preservation_share 0.3", "is for --preservation_path"),
        ("--preservation_path nowhere", "nowhere does not exist: give --preservation_path an"),
        ("--preservation_path *.tar", r"--preservation_path \*.tar: nothing matches"),
    ],
)
def test_refused_flags(folder, flags, message, monkeypatch):
    monkeypatch.chdir(folder)
    argv = f"--do_train --output_dir out --resolution 64 --dataset_path {folder / 'scenes'} {flags}".split()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_dataset(parse_into(prior.GROUPS, argv)[1])


def test_the_models_own_pictures_become_such_a_set(folder, tmp_path, capsys):
    call = ["--weights", str(folder / "release"), "--output_dir", str(tmp_path), "--height", "256", "--width", "256"]
    call += ["--caption", "a café", "a boat", "--steps", "1", "--decoder_steps", "1", "--write_captions"]
    assert inference.main([*call, "--contact_sheet"]) == 2 and "--write_captions" in capsys.readouterr().err
    assert inference.main(call) == 0
    assert (tmp_path / "result_0.txt").read_text(encoding="utf-8") == "a café\n"
    argv = (
        f"--do_train --output_dir x --resolution 64 --dataset_path {folder / 'scenes'} --preservation_path {tmp_path}"
    )
    dataset = open_dataset(parse_into(prior.GROUPS, argv.split())[1])
    assert dataset.captions[12:] == ["a café", "a boat"]
