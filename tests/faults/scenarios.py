"""The programs that are killed, on small models: what each reads, what is there before it starts, what it writes."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.process import ROOT

WORK = "work"  # in an attempt's folder: what the program writes to


@dataclass(frozen=True)
class Scenario:
    """command(inputs, work) -> script and arguments; prepare(inputs, work) puts what is there before.

    training: whether checkpoints are what it writes. share: of the kills. signals: what it is killed by.
    """

    name: str
    share: float
    command: Callable
    prepare: Callable = lambda inputs, work: None
    training: bool = False
    kills: int = 3  # of one folder before it is brought to its end
    terminate: bool = False  # SIGTERM instead of SIGKILL
    ranks: int = 1


STEPS, EVERY, KEPT = 24, 3, 2
TRAINING = (
    f"--do_train --max_steps {STEPS} --save_steps {EVERY} --save_total_limit {KEPT} --per_device_train_batch_size 2 --seed 5 "
    "--resolution 64 --learning_rate 2e-3 --lr_scheduler_type cosine --warmup_steps 2 --logging_steps 5"
).split()
FULL = "--ema_decay 0.9 --loss_weight adaptive --gradient_accumulation_steps 2 --dataloader_num_workers 1".split()


def training(*flags):
    def command(inputs, work):
        paths = (
            "--weights_path",
            inputs / "release",
            "--dataset_path",
            inputs / "scenes",
            "--output_dir",
            work / "run",
        )
        own = [inputs / flag[1:] if isinstance(flag, str) and flag.startswith("@") else flag for flag in flags]
        return [ROOT / "train_stage_c_trainer.py", *TRAINING, *paths, *own]

    return command


def convert(inputs, work):
    return [
        ROOT / "scripts/convert_unet_weight.py",
        "--input",
        inputs / "large",
        "--output",
        work / "paddle",
        "--dtype",
        "float16",
    ]


def convert_other(inputs, work):
    return [ROOT / "scripts/convert_other_weight.py", "--input", inputs / "large", "--output", work / "paddle"]


def merge(inputs, work):
    paths = ("--lora", inputs / "lora.safetensors", "--merge_into", inputs / "release/stage_c_lite.safetensors")
    return [ROOT / "scripts/convert_lora.py", *paths, "--output", work / "merged.safetensors", "--scale", "0.5"]


def extract(inputs, work):
    paths = ("--checkpoint_path", inputs / "trained", "--model_file", work / "prior.safetensors")
    return [ROOT / "scripts/extract_unet_weights.py", *paths, "--save_ema"]


def cache(inputs, work):
    paths = (
        "--weights_path",
        inputs / "release",
        "--dataset_path",
        inputs / "scenes",
        "--feature_cache",
        work / "cache",
    )
    return [ROOT / "scripts/cache_features.py", *paths, "--resolution", "64"]


def generate(inputs, work, seed="0"):
    captions = ["--caption", "a red disc", "two blue squares", "a green triangle"]
    size = "--steps 1 --decoder_steps 1 --height 256 --width 256 --batch_size 2".split()
    paths = ("--weights", inputs / "release", "--output_dir", work)
    return [ROOT / "inference.py", *captions, *size, *paths, "--contact_sheet", "--seed", seed]


def had(name):
    """What an earlier run with other settings left, kept in the inputs as `name`."""

    def prepare(inputs, work):
        shutil.copytree(inputs / name, work, dirs_exist_ok=True)

    return prepare


SCENARIOS = (
    Scenario("training", 3, training(*FULL), training=True, kills=6),
    Scenario("training, LoRA and tokens", 1, training(*FULL, "--method", "lora", "--lora_rank", "2", "--learn_tokens",
                                                       "[disc]:^red</w>$"), training=True, kills=6),
    Scenario("training, cached", 1, training(*FULL, "--feature_cache", "@features"), training=True, kills=6),
    Scenario("training, SIGTERM", 1, training(*FULL), training=True, kills=4, terminate=True),
    Scenario("training, two ranks", 0.4, training("--ema_decay", "0.9", "--loss_weight", "adaptive"), training=True, kills=3,
             ranks=2),
    Scenario("conversion, networks", 2, convert, had("had_converted")),
    Scenario("conversion, others", 2, convert_other, had("had_others")),
    Scenario("conversion, LoRA merged", 1.5, merge, had("had_merged")),
    Scenario("extraction", 1.5, extract, had("had_extracted")),
    Scenario("cache building", 3, cache, had("had_cached")),
    Scenario("generation", 3, generate, had("had_generated")),
)  # fmt: skip


def make_inputs(base: Path):
    """Everything that the scenarios read, and what earlier runs left. Called in a forked process."""
    from fuzz.templates import stir
    from small_release import ARCHITECTURE, images, write_scenes_and_release

    write_scenes_and_release(base, dropout=0.1)
    stir(base / "release" / "stage_c_lite.safetensors")
    stir(base / "release" / "stage_b_lite.safetensors")
    large(base, ARCHITECTURE, images)
    half(base / "scenes", base / "few")


def large(base, architecture, images):
    """A release whose files take long enough to write that a kill meets them half written."""
    from ldm.demo.untrained import write_untrained_release

    wide = {"c_hidden": [192, 192]}
    captions = [path.read_text() for path in (base / "scenes").rglob("*.txt")]
    stages = {name: {**architecture[name], **wide} for name in ("stage_b", "stage_c")}
    write_untrained_release(base / "large", {**architecture, **stages}, captions, images())


def half(scenes: Path, folder: Path):
    """Every other image of a dataset, under the same names."""
    for path in sorted(scenes.rglob("*.png"))[::2]:
        for file in (path, path.with_suffix(".txt")):
            target = folder / file.relative_to(scenes)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)


def earlier_runs(base: Path):
    """Commands, in turn, that make what is there before the scenarios: [(script, ...)]."""
    train = [ROOT / "train_stage_c_trainer.py", *TRAINING, "--max_steps", 2, "--weights_path", base / "release",
             "--dataset_path", base / "scenes"]  # fmt: skip
    lora = ["--method", "lora", "--lora_rank", 2, "--learn_tokens", "[disc]:^red</w>$"]
    yield [*train, "--output_dir", base / "trained", "--ema_decay", "0.9"]
    yield [*train, "--output_dir", base / "trained_lora", *lora]
    yield [ROOT / "scripts/extract_unet_weights.py", "--checkpoint_path", base / "trained_lora", "--model_file",
           base / "lora.safetensors", "--lora"]  # fmt: skip
    yield [*convert(base, base / "had_converted")[:-1], "float32"]
    yield [*convert_other(base, base / "had_others"), "--dtype", "float16"]
    yield [*merge(base, base / "had_merged")[:-1], "1.5"]
    yield [*extract(base, base / "had_extracted"), "--dtype", "float16"]
    some = cache(base, base / "had_cached")
    yield [base / "few" if part == base / "scenes" else part for part in some]
    yield generate(base, base / "had_generated", seed="7")
    yield cache(base, base / "all_features")
