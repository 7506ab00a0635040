"""The training command line: documented flags are accepted, what cannot be honoured is refused with the remedy."""

import subprocess
import sys

import pytest
from helpers import ROOT
from paddlenlp.trainer.trainer_utils import OptimizerNames, ShardingOption

from ldm.training import autoencoder, decoder, previewer, prior
from ldm.training.arguments import parse_into
from ldm.training.unsupported import check_supported

BASE = ["--output_dir", "out", "--do_train"]


def parse_arguments(argv):
    return parse_into(prior.GROUPS, argv)


def test_documented_flags_arrive():
    flags = (
        "--dataset_path d --per_device_train_batch_size 3 --gradient_accumulation_steps 2 --learning_rate 2e-5 "
        "--resolution 512 --weight_decay 0.1 --max_grad_norm 0.5 --max_steps 7 --lr_scheduler_type cosine --warmup_steps 3 "
        "--image_logging_steps 5 --logging_steps 2 --save_steps 4 --save_total_limit 1 --seed 9 --dataloader_num_workers 2 "
        "--num_inference_steps 6 --model_max_length 50 --fp16_opt_level O2"
    )
    model, data, training = parse_arguments(BASE + flags.split())
    assert (data.dataset_path, data.resolution, model.model_max_length, model.num_inference_steps) == ("d", 512, 50, 6)
    expected = dict(
        per_device_train_batch_size=3, gradient_accumulation_steps=2, learning_rate=2e-5, weight_decay=0.1, max_grad_norm=0.5,
        max_steps=7, warmup_steps=3, image_logging_steps=5, logging_steps=2, save_steps=4, save_total_limit=1, seed=9,
        dataloader_num_workers=2, fp16_opt_level="O2", do_train=True,
    )  # fmt: skip
    assert {name: getattr(training, name) for name in expected} == expected
    assert training.lr_scheduler_type.value == "cosine"


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--fp16 True", "--fp16 needs a GPU"),
        ("--bf16 True", "--bf16 needs a GPU"),
        ("--fp16_opt_level O3", "O1 or O2"),
        ("--per_device_train_batch_size 0", "per_device_train_batch_size must be at least 1"),
        ("--gradient_accumulation_steps 0", "gradient_accumulation_steps must be at least 1"),
        ("--lr_scheduler_type constant --warmup_steps 5", "constant_with_warmup"),
        ("--resolution 100", "multiple of 32"),
        ("--resolution 32", "at least 64"),
        ("--caption_dropout 1.5", "between 0 and 1"),
        ("--ema_decay 1", "ema_decay"),
        ("--p2_shift 0", "--p2_shift must be above 0"),
        ("--p2_shift 3 --loss_weight min_snr", "--p2_shift is for --loss_weight p2"),
        ("--noise_shift 0", "--noise_shift must be above 0"),
        ("--batch_norm_momentum 1", "batch_norm_momentum"),
        ("--num_inference_steps 0", "num_inference_steps"),
        ("--do_eval", "do_eval"),
        ("--evaluation_strategy steps", "do_eval"),
        ("--save_strategy epoch", "--save_strategy epoch"),
        ("--logging_strategy epoch --save_strategy epoch", "--save_strategy and --logging_strategy epoch"),
        ("--use_async_save True", "--use_async_save"),
        ("--unified_checkpoint True", "--unified_checkpoint"),
        ("--warmup_ratio 0.1 --warmup_steps 20", "leave one of them out"),
    ],
)
def test_refused_flags(flags, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments(BASE + flags.split())


@pytest.mark.parametrize(
    "trainer, flags, message",
    [
        (autoencoder, "--resolution 100", "multiple of 8"),
        (autoencoder, "--quantised_share 2", "quantised_share must be between 0 and 1"),
        (decoder, "--encoder_scale_min 0.9 --encoder_scale_max 0.5", "--encoder_scale_min 0.9"),
        (decoder, "--encoder_resample bicubic", "nearest or area"),
        (decoder, "--random_crop 100", "multiple of 8"),
        (decoder, "--encoder_noise -1", "must not be negative"),
        (previewer, "--latent_noise -1", "must not be negative"),
        (previewer, "--resolution 200", "multiple of 32"),
    ],
)
def test_refused_flags_of_the_other_trainers(trainer, flags, message):
    with pytest.raises(ValueError, match=message):
        parse_into(trainer.GROUPS, BASE + flags.split())


def test_nothing_to_do_is_said():
    with pytest.raises(ValueError, match="--do_train"):
        parse_arguments(BASE[:2])


def test_unknown_flags_are_refused():
    command = [sys.executable, "train_stage_c_trainer.py", *BASE, "--learning_rat", "1", "--no_such_flag"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "no_such_flag" in done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-1]


def test_a_warmup_ratio_is_not_lost_to_the_default_number_of_steps():
    *_, training = parse_arguments([*BASE, "--warmup_ratio", "0.1", "--max_steps", "50"])
    assert training.get_warmup_steps(50) == 5


def test_what_only_a_gpu_could_start_is_refused_too():
    *_, training = parse_arguments(BASE)
    check_supported(training)
    training.sharding = [ShardingOption.FULL_SHARD]
    with pytest.raises(ValueError, match="--sharding stage3: only stage1"):
        check_supported(training)
    training.sharding, training.fp16, training.fp16_opt_level = [ShardingOption.SHARD_OP], True, "O2"
    check_supported(training)
    for flag in ("amp_master_grad", "distributed_dataloader"):  # PaddleNLP drops them, saying so, on one CPU
        setattr(training, flag, True)
        with pytest.raises(ValueError, match=f"--{flag}"):
            check_supported(training)
        setattr(training, flag, False)
    training.optim = OptimizerNames.ADAMW_MINI
    with pytest.raises(ValueError, match="adamw_mini .* they vanish"):
        check_supported(training)
