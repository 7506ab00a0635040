"""What PaddleNLP's TrainingArguments offer and this trainer cannot honour: refused, with what to do instead."""


def check_supported(args):
    """ValueError for the first flag of parsed training arguments that would be ignored, crash or spoil the run."""
    sharding = {option.value for option in args.sharding} - {"stage1", "offload"} if args.sharding else set()
    epochs = [name for name in ("save", "logging") if getattr(args, f"{name}_strategy").value == "epoch"]
    float16_weights = args.fp16 and args.fp16_opt_level == "O2"
    refusals = (
        (
            args.do_eval or args.do_predict or args.load_best_model_at_end,
            "--do_eval, --do_predict, --evaluation_strategy and --load_best_model_at_end are not part of this script: "
            "leave them out and look at the logged pictures and fixed_loss instead.",
        ),
        (
            epochs,
            f"--{' and --'.join(f'{name}_strategy' for name in epochs)} epoch: a run is one long epoch here. Use "
            "--save_steps and --logging_steps.",
        ),
        (args.use_async_save, "--use_async_save would write on when the checkpoint counts as whole: leave it out."),
        (
            args.unified_checkpoint,
            "--unified_checkpoint is for PaddleNLP's own models: leave it out, checkpoints are whole or absent anyway.",
        ),
        (args.distributed_dataloader, "--distributed_dataloader: every rank reads its own samples here. Leave it out."),
        (
            args.amp_master_grad,
            "--amp_master_grad keeps gradients where they cannot be checked before they reach the weights: leave it out.",
        ),
        (
            sharding,
            f"--sharding {' '.join(sorted(sharding))}: only stage1 shares the work in a way that pictures, averages and "
            "the checks of gradients can follow. Use --sharding stage1.",
        ),
        (
            float16_weights and args.optim.value == "adamw_mini",
            "--optim adamw_mini with --fp16 True --fp16_opt_level O2: it squares gradients in float16, where they vanish. "
            "Use --bf16 True, --fp16_opt_level O1 or --optim adamw.",
        ),
    )
    for asked, message in refusals:
        if asked:
            raise ValueError(message)
