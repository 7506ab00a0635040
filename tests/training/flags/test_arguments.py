"""The training command line: documented flags are accepted, what cannot be honoured is refused with the remedy."""

import subprocess
import sys
from dataclasses import fields

import pytest
from helpers import ROOT

from ldm.training.flags.arguments import CascadeTrainingArguments, parse_into
from ldm.training.flags.unsupported import check_supported
from ldm.training.tasks import clip, decoder, previewer, prior, stage_a

BASE = ["--output_dir", "out", "--do_train"]


def parse_arguments(argv):
    return parse_into(prior.GROUPS, argv)


def test_documented_flags_arrive():
    flags = (
        "--dataset_path d --per_device_train_batch_size 3 --gradient_accumulation_steps 2 --learning_rate 2e-5 "
        "--resolution 512 --weight_decay 0.1 --max_grad_norm 0.5 --max_steps 7 --lr_scheduler_type cosine --warmup_steps 3 "
        "--image_logging_steps 5 --logging_steps 2 --save_steps 4 --save_total_limit 1 --seed 9 --dataloader_num_workers 2 "
        "--num_inference_steps 6 --model_max_length 50 --adam_beta2 0.99"
    )
    model, data, training = parse_arguments(BASE + flags.split())
    assert (data.dataset_path, data.resolution, model.model_max_length, model.num_inference_steps) == ("d", 512, 50, 6)
    expected = dict(
        per_device_train_batch_size=3, gradient_accumulation_steps=2, learning_rate=2e-5, weight_decay=0.1, max_grad_norm=0.5,
        max_steps=7, warmup_steps=3, image_logging_steps=5, logging_steps=2, save_steps=4, save_total_limit=1, seed=9,
        dataloader_num_workers=2, adam_beta2=0.99, do_train=True,
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
        ("--caption_dropout 1.5", "at least 0 and at most 1, got 1.5"),
        ("--ema_decay 1", "ema_decay"),
        ("--p2_shift 0", "--p2_shift must be above 0"),
        ("--p2_shift 3 --loss_weight min_snr", "--p2_shift is for --loss_weight p2"),
        ("--noise_shift 0", "--noise_shift must be above 0"),
        ("--batch_norm_momentum 1", "batch_norm_momentum"),
        ("--num_inference_steps 0", "num_inference_steps"),
        ("--do_eval", "--do_eval True: evaluation is not part"),
        ("--evaluation_strategy steps", "--evaluation_strategy steps: evaluation is not part"),
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
        (stage_a, "--resolution 100", "multiple of 8"),
        (stage_a, "--quantised_share 2", "quantised_share must be at least 0 and at most 1"),
        (clip, "--negatives 3", "--negatives 3 is for --negative_words"),
        (clip, "--resolution 64", "leave it out"),
        (decoder, "--encoder_scale_min 0.9 --encoder_scale_max 0.5", "--encoder_scale_min 0.9"),
        (decoder, "--encoder_resample bicubic", "nearest or area"),
        (decoder, "--random_crop 100", "multiple of 8"),
        (decoder, "--encoder_noise -1", "--encoder_noise must be at least 0"),
        (previewer, "--latent_noise -1", "--latent_noise must be at least 0"),
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


def given(**values) -> CascadeTrainingArguments:
    """Training arguments as a command line gives them, before anything is checked."""
    args = object.__new__(CascadeTrainingArguments)
    for item in fields(CascadeTrainingArguments):
        setattr(args, item.name, values.get(item.name, item.default))
    return args


@pytest.mark.parametrize(
    "values, message",
    [
        ({"sharding": "stage3"}, "--sharding stage3: only stage1"),
        ({"sharding": "stage1 offload"}, "--sharding stage1 offload: only stage1"),
        ({"fp16": True, "fp16_opt_level": "O2", "optim": "adamw_mini"}, "adamw_mini .* they vanish"),
    ],
)
def test_what_only_a_gpu_could_start_is_refused_too(values, message, monkeypatch):
    monkeypatch.setattr("paddle.distributed.get_world_size", lambda: 2)
    check_supported(given())
    check_supported(given(sharding="stage1", fp16=True, fp16_opt_level="O2"))
    with pytest.raises(ValueError, match=message):
        check_supported(given(**values))


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--sharding stage1", "this is one: start it with python -m paddle.distributed.launch"),
        ("--device tpu", "--device tpu: this computes on cpu"),
        ("--device gpu", "--device gpu: this computes on cpu"),
        ("--fp16_opt_level O2", "--fp16_opt_level O2 acts with --fp16 True or --bf16 True only"),
        ("--scale_loss 1024", "--scale_loss 1024.0 acts with --fp16 True only"),
        ("--amp_custom_white_list conv2d", "--amp_custom_white_list .* acts with --fp16 True or"),
        ("--num_cycles 2", "acts with --lr_scheduler_type cosine only"),
        ("--power 2", "acts with --lr_scheduler_type polynomial only"),
        ("--lr_end 1e-6", "acts with --lr_scheduler_type polynomial only"),
        ("--lr_scheduler_type polynomial --lr_end 1e-3", "--lr_end 0.001 must be below --learning_rate 0.0001"),
        ("--lr_scheduler_type cosin", "--lr_scheduler_type must be one of linear, cosine, constant"),
        ("--num_train_epochs 3 --max_steps 10", "--num_train_epochs 3 and --max_steps 10: leave one of them out"),
        ("--overwrite_output_dir --resume_from_checkpoint x", "leave one of them out"),
        ("--run_name x", "--run_name x acts with --report_to wandb only"),
        ("--report_to wandb", "needs the package wandb"),
        ("--report_to tensorboard", "needs the package tensorboardX"),
        ("--report_to autonlp", "choose from visualdl, tensorboard, wandb"),
        ("--report_to none visualdl", "--report_to none: choose from"),
        ("--min_snr_gamma 3", "--min_snr_gamma is for --loss_weight min_snr"),
        ("--image_logging_captions x", "--image_logging_captions is for logged pictures"),
        ("--image_logging_size 512", "--image_logging_size is for logged pictures"),
        ("--resolution 4096 --per_device_train_batch_size 4096", "take 768.00 GiB at --resolution 4096"),
        ("--logging_dir /dev/null/x", "--logging_dir /dev/null/x: /dev/null is not a folder"),
        ("--resolution 3200000", "--resolution must be at least 1 and at most 4,096"),
        ("--output_size 8192", "--output_size 8192 is trained at 6144 pixels, which must be"),
        ("--dataloader_num_workers 100000", "--dataloader_num_workers must be at least 0 and at most"),
        ("--seed abc", "^--seed: invalid int value: 'abc'. --help lists all flags.$"),
        ("--seed", "^--seed: expected one argument"),
        ("--save_strategy never", "^--save_strategy: invalid choice: 'never'"),
        ("--flip perhaps", "^--flip: .*perhaps"),
        ("--lora_filter", "^--lora_filter: expected at least one argument"),
        ("--learn_tokens [", r"^--learn_tokens \[: '\[' is not a regular expression"),
        ("--learn_tokens [a]:", r"^--learn_tokens \[a\]:: a new token needs a start"),
        ("--crop centre random", "^'random' belongs to no flag"),
        (f"--seed {'9' * 5000}", r"^--seed: invalid int value: '9{39}\.\.\. --help"),
    ],
)
def test_flags_that_would_have_no_effect_are_refused_in_one_line(flags, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_arguments(BASE + flags.split())
    assert "\n" not in str(caught.value)


def test_what_a_run_may_say_of_itself_is_accepted():
    for flags in ("--device cpu", "--report_to none", "--report_to visualdl", "--report_to all", "--num_train_epochs 0.5",
                  "--lr_scheduler_type cosine --num_cycles 1.5", "--lr_scheduler_type polynomial --power 2",
                  "--max_grad_norm 0", "--max_steps -1 --num_train_epochs 3"):  # fmt: skip
        parse_arguments(BASE + flags.split())


def test_no_file_beside_the_program_adds_flags(tmp_path, monkeypatch):
    (tmp_path / "trainer.args").write_text("--seed 77")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "trainer.py")])
    assert parse_arguments(BASE)[-1].seed == 42


def test_help_lists_what_is_honoured_and_nothing_that_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--lora_rank" in text and "at least 1 and at most 4,096" in text
    assert "--tensor_parallel_degree" not in text and "--dataloader_drop_last" not in text
