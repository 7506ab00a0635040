"""Cases of wrong flags."""

from bad_inputs import case


@case("flags", "Unknown flag --learning_rat.", "Do you mean --learning_rate?")
def unknown_flag(inputs):
    """A flag is misspelt"""
    return ["--learning_rat", "1"]


@case("flags", "--resolution 100", "multiple of 32")
def odd_resolution(inputs):
    """The resolution does not suit the encoder"""
    return ["--resolution", "100"]


@case("flags", "--output_size 1024", "leave one of them out")
def two_sizes(inputs):
    """--output_size and --resolution say different things"""
    return ["--output_size", "1024"]


@case("flags", "--learning_rate must be", "got nan")
def learning_rate_of_nan(inputs):
    """--learning_rate is no number"""
    return ["--learning_rate", "nan"]


@case("flags", "--max_steps must be", "or -1, got 0")
def no_steps(inputs):
    """--max_steps 0"""
    return ["--max_steps", "0"]


@case("flags", "--tensor_parallel_degree 2", "leave it out")
def split_over_devices(inputs):
    """A flag of PaddleNLP that has no effect here"""
    return ["--tensor_parallel_degree", "2"]


@case("flags", "--sharding stage1", "python -m paddle.distributed.launch")
def sharding_of_one_process(inputs):
    """--sharding, and there is one process"""
    return ["--sharding", "stage1"]


@case("flags", "--resolution", "images of one batch take", "--gradient_accumulation_steps")
def batch_beyond_all_memory(inputs):
    """More images in a batch than memory holds"""
    flags = ["--resolution", "2048", "--per_device_train_batch_size", "4096"]
    return flags, {"ldm.training.preflight.forecast.host_available": lambda: 64 << 30}


@case("flags", "--num_train_epochs 3 and --max_steps 2", "leave one of them out")
def two_lengths(inputs):
    """--num_train_epochs and --max_steps"""
    return ["--num_train_epochs", "3"]


@case("flags", "--batch_norm_momentum", "Leave the flag out")
def momentum_of_nothing(inputs):
    """--batch_norm_momentum, and the prior has no BatchNorm"""
    return ["--batch_norm_momentum", "0.5"]


@case("flags", "--train_only is empty", "leave the flag out")
def empty_pattern(inputs):
    """An empty text where a pattern is needed"""
    return ["--train_only", ""]


@case("flags", "--fp16", "Leave the flag out")
def half_precision_on_a_cpu(inputs):
    """--fp16 on a CPU"""
    return ["--fp16", "True"]


@case("flags", "--per_device_train_batch_size must be at least 1")
def empty_batch(inputs):
    """A batch of 0 images"""
    return ["--per_device_train_batch_size", "0"]


@case("flags", "--optim must be one of adamw, adamw_mini")
def unknown_optimizer(inputs):
    """An optimiser that is not there"""
    return ["--optim", "adafactor"]


@case("flags", "--method must be one of full, lora, tokens")
def unknown_method(inputs):
    """--method is misspelt"""
    return ["--method", "loraa"]


@case("flags", "--lora_rank", "--method lora")
def lora_flag_without_lora(inputs):
    """--lora_rank, and the whole prior is trained"""
    return ["--lora_rank", "8"]


@case("flags", "--lora_rank must be at least 1")
def lora_of_rank_0(inputs):
    """A LoRA of rank 0"""
    return ["--method", "lora", "--lora_rank", "0"]


@case("flags", ".attention_typo", "such as .attn")
def lora_filter_without_match(inputs):
    """--lora_filter matches no layer"""
    return ["--method", "lora", "--lora_filter", ".attention_typo"]


@case("flags", "up_blocksss", "--train_only")
def train_only_nothing(inputs):
    """--train_only matches no parameter"""
    return ["--train_only", "up_blocksss"]


@case("flags", "'^zebrafish</w>$' finds none", "ends with </w>")
def token_of_unknown_words(inputs):
    """--learn_tokens finds no token to start from"""
    return ["--method", "tokens", "--learn_tokens", "[zebra]:^zebrafish</w>$"]


@case("flags", "500", "choose a value in that range")
def too_long_captions(inputs):
    """--model_max_length beyond the text encoder's"""
    return ["--model_max_length", "500"]


@case("flags", "constant ignores warm-up", "--warmup_steps 0")
def warm_up_that_is_ignored(inputs):
    """Warm-up with a schedule that has none"""
    return ["--lr_scheduler_type", "constant", "--warmup_steps", "5"]


@case("flags", "--crop", "centre, random")
def unknown_crop(inputs):
    """--crop is misspelt"""
    return ["--crop", "center"]


@case("flags", "--dry_run", "leave one of them out")
def dry_run_without_checks(inputs):
    """--dry_run, and the checks are switched off"""
    return ["--dry_run", "True", "--preflight", "False"]
