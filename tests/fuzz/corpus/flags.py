"""Findings in flags."""

from fuzz.corpus.finding import of_flags

for _flags in (
    "--learning_rate nan", "--adam_epsilon 0", "--lr_scheduler_type polynomial --power nan", "--tensor_parallel_degree 2",
    "--pipeline_parallel_degree 2", "--device tpu", "--ckpt_quant_stage O1", "--sharding stage1", "--offload_optim True",
    "--max_grad_norm -1", "--max_grad_norm nan", "--max_steps 0", "--num_train_epochs 0", "--num_train_epochs -2",
    "--num_train_epochs inf", "--save_steps 0", "--seed -1", f"--seed {'7' * 23}", "--local_rank 5", "--to_static True",
    "--resolution 3200000", "--dataset_path {0..999999999}.tar",
):  # fmt: skip
    of_flags("trainer", *_flags.split())
for _flags in ("--cfg nan", "--cfg inf", "--decoder_cfg nan", "--steps 0", "--seed -1", f"--seed {'7' * 23}", "--height -256",
               "--height 3200000", "--batch_size 1000000", "--steps 100000000", "--prior_weights release",
               "--lora_scale nan"):  # fmt: skip
    of_flags("inference", *_flags.split())
of_flags("convert_lora", "--scale", "nan")
of_flags("cache_features", "--encoder_scale", "nan")
of_flags("inference", "--lora", "")
of_flags("inference", "--prior_weights", "\n")
of_flags("cache_features", "--preservation_path", "nowhere")
