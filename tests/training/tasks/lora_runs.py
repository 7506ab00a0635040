"""Runs of the prior's trainer on scenes. No test itself."""

from ldm.training.flags.arguments import parse_into
from ldm.training.run import train
from ldm.training.tasks import prior
from ldm.weights.release import load_network

PRIOR = "stage_c_lite.safetensors"
LORA = "--method lora --lora_rank 2 --learning_rate 1e-2"
TOKENS = ["--learn_tokens", "[fox]:^f</w>|^o</w>", "^a</w>$"]


def flags(release, scenes, output, more="", lists=()):
    common = (
        f"--do_train --weights_path {release} --dataset_path {scenes} --output_dir {output} --resolution 64 "
        "--per_device_train_batch_size 4 --image_logging_steps 8 --num_inference_steps 1 --logging_steps 4 "
    )
    return [*(common + more).split(), *lists]


def run(release, scenes, output, more="", lists=()):
    groups = parse_into(prior.GROUPS, flags(release, scenes, output, more, lists))
    return train(prior.build_task, *groups)


def base(rule_release):
    return load_network(rule_release / PRIOR, "stage_c")
