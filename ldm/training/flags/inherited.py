"""Every flag that PaddleNLP's TrainingArguments bring along is in one of three lists: honoured, harmless or refused.

A flag of a new PaddleNLP version that is in none of them fails tests/training/flags/test_inherited_flags.py.
"""

import os
from dataclasses import fields

from paddlenlp.trainer import TrainingArguments

from ldm.common.cli.numbers import Range, batch
from ldm.training.flags.values import EVERY, NEAR_ONE, SHARE, STEPS, shortened

HONOURED = frozenset(
    (
        # what is run, and where it is written
        "do_train output_dir overwrite_output_dir resume_from_checkpoint seed device "
        "per_device_train_batch_size gradient_accumulation_steps num_train_epochs max_steps dataloader_num_workers "
        # the optimiser
        "optim learning_rate weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm release_grads "
        "lr_scheduler_type warmup_ratio warmup_steps num_cycles lr_end power "
        # precision and memory
        "fp16 bf16 fp16_opt_level amp_custom_black_list amp_custom_white_list scale_loss recompute "
        # several processes
        "sharding ddp_find_unused_parameters save_on_each_node "
        # what is logged and saved
        "logging_dir logging_strategy logging_first_step logging_steps save_strategy save_steps save_total_limit "
        "disable_tqdm report_to run_name"
    ).split()
)

HARMLESS = {
    "dataloader_drop_last": "every batch is full: there is no last one to drop",
    "remove_unused_columns": "the samples hold nothing that is not used",
    "lazy_data_processing": "PaddleNLP reads it nowhere; samples are read when they are needed",
}

NO_EVALUATION = (
    "evaluation is not part of this script: leave it out and look at the logged pictures and fixed_loss instead"
)
NOT_SPLIT = "the networks are not split over devices here: leave it out, and use --sharding stage1 or --recompute True to save memory"
STAGE1_ALONE = "only --sharding stage1 with all processes as one group is honoured: leave it out"
NO_EXPERTS = "these networks have no experts: leave it out"
NO_TOKENS = "what is trained are images, not tokens: leave it out"
EXACT_RESUME = (
    "a checkpoint resumes exactly or not at all: leave it out; to begin anew from trained weights use --unet_path"
)
OWN_CHECKPOINTS = "it is for PaddleNLP's own models: leave it out, checkpoints are complete or absent anyway"
PICTURES_OF_TIME = "samples per second, data wait and peak memory are logged anyway: leave it out"
KEY = "a key on the command line is written to options.json and the logs: leave it out and set {} in the environment"

REFUSED_TOGETHER = {
    NO_EVALUATION: (
        "do_eval do_predict evaluation_strategy prediction_loss_only per_device_eval_batch_size eval_accumulation_steps "
        "bf16_full_eval fp16_full_eval minimum_eval_times eval_steps max_evaluate_steps load_best_model_at_end "
        "metric_for_best_model greater_is_better label_names past_index"
    ),
    NOT_SPLIT: (
        "tensor_parallel_degree pipeline_parallel_degree sep_parallel_degree context_parallel_degree sequence_parallel "
        "fuse_sequence_parallel_allreduce sequence_parallel_config tensor_parallel_config pipeline_parallel_config "
        "enable_auto_parallel force_reshard_pp auto_parallel_resume_form_hybrid_parallel split_inputs_sequence_dim "
        "hybrid_parallel_topo_order sharding_parallel_mesh_dimension"
    ),
    STAGE1_ALONE: (
        "sharding_degree sharding_parallel_degree sharding_comm_buffer_size_MB sharding_parallel_config data_parallel_config "
        "save_sharded_model load_sharded_model save_sharding_stage1_model_include_freeze_params"
    ),
    NO_EXPERTS: (
        "use_expert_parallel expert_parallel_degree expert_tensor_parallel_degree expert_max_capacity expert_min_capacity"
    ),
    NO_TOKENS: "count_trained_tokens pad_token_id",
    EXACT_RESUME: "ignore_data_skip ignore_load_lr_and_optim ignore_save_lr_and_optim",
    OWN_CHECKPOINTS: "unified_checkpoint unified_checkpoint_config ckpt_quant_stage",
    PICTURES_OF_TIME: "skip_memory_metrics skip_profile_timer",
    "it would write on when the checkpoint counts as complete: leave it out": "use_async_save",
    "it orders the writing of a model that is split over devices, and ours is not: leave it out": "ordered_save_group_size",
    "signals are for asynchronous saving, which is refused: leave it out": "output_signal_dir",
    "every log entry is in trainer_state.json and VisualDL: leave it out": "metrics_output_path",
    "every rank reads its own samples here: leave it out": "distributed_dataloader",
    "it keeps gradients where they cannot be checked before they reach the weights: leave it out": "amp_master_grad",
    "Paddle's static mode cannot run this training: leave it out": "to_static",
    "PaddleNLP's list of operations is not for these networks: use --recompute True": "refined_recompute",
    "PaddleNLP ignores it: set CUDA_VISIBLE_DEVICES= (empty) in the environment to compute on the CPU": "no_cuda",
    "each process knows its number: leave it out and start several with python -m paddle.distributed.launch": "local_rank",
    "it is for NPUs: leave it out": "flatten_param_grads",
    "moving the optimiser's states at every step is not supported: use --optim adamw_mini or --sharding stage1": "offload_optim",
    "steps are not skipped unseen: use --on_non_finite skip, or --data_filter for samples": "skip_data_intervals",
    "it is for Baidu's cluster jobs: leave it out and use --resume_from_checkpoint": "pdc_download_ckpt pdc_download_timeout",
    "export with scripts/export_release.py or scripts/extract_unet_weights.py": "do_export",
    "whether to log is the first process's: leave it out": "log_on_each_node",
    KEY.format("WANDB_API_KEY"): "wandb_api_key",
    KEY.format("HTTPS_PROXY"): "wandb_http_proxy",
}
REFUSED = {name: remedy for remedy, names in REFUSED_TOGETHER.items() for name in names.split()}


def most_workers() -> int:
    """Workers that can still be of use: a few per core, as many wait for a disk or a network; each is a process of its own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(16, 4 * cores)


RANGES = {
    "per_device_train_batch_size": batch.range,  # and as many images must fit into memory: preflight/forecast.py
    "gradient_accumulation_steps": Range(1, 10**6),
    "learning_rate": Range(0, 10, above=True),
    "weight_decay": Range(0, 10),
    "adam_beta1": Range(0, NEAR_ONE),
    "adam_beta2": Range(0, NEAR_ONE),
    "adam_epsilon": Range(1e-20, 1),  # 0 divides by nothing, and so does what is nothing in float32
    "max_grad_norm": Range(1e-9, 1e9, also=(0,)),  # 0: not clipped
    "num_train_epochs": Range(0, 10**6, above=True),
    "max_steps": Range(1, 10**9, also=(-1,)),  # -1: --num_train_epochs decides
    "warmup_ratio": SHARE,
    "warmup_steps": EVERY,
    "num_cycles": Range(0, 10**4, above=True),
    "lr_end": Range(0, 10),
    "power": Range(0, 100, above=True),
    "logging_steps": STEPS,
    "save_steps": STEPS,
    "save_total_limit": STEPS,
    "seed": Range(0, 2**32 - 1 - 2**20),  # NumPy's; PaddleNLP adds up to some 100,000 for each process
    "scale_loss": Range(1, 2**30),
    "dataloader_num_workers": Range(0, most_workers()),
}


def check_inherited(arguments):
    """ValueError for a flag that would have no effect or spoil the run, given with another value than its default."""
    for item in fields(TrainingArguments):
        value = getattr(arguments, item.name)
        if item.name in REFUSED and value != item.default:
            raise ValueError(f"--{item.name} {shortened(value)}: {REFUSED[item.name]}.")
