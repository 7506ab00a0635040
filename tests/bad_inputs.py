"""Wrong data, flags, weights, checkpoints and caches, one function each: what is wrong is its docstring, what it returns
are flags. Used by test_bad_inputs.py, which runs the trainer of the prior with them; not a test itself."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

CASES = {}  # name -> (section, function, pieces of the message: what is named, and the remedy)


def case(section: str, *pieces: str):
    def register(function):
        CASES[function.__name__] = (section, function, pieces)
        return function

    return register


class Inputs:
    """A folder with a dataset `data` (3 captioned pictures) and a release `weights` of links, both to be spoilt."""

    def __init__(self, folder: Path, release: Path, pictures: Path):
        self.folder, self.data, self.weights, self.output = (
            folder, folder / "data", folder / "weights", folder / "output",
        )  # fmt: skip
        shutil.copytree(pictures, self.data)
        self.weights.mkdir()
        for path in release.iterdir():
            (self.weights / path.name).symlink_to(path)

    @property
    def flags(self) -> list[str]:
        text = f"--do_train --weights_path {self.weights} --dataset_path {self.data} --output_dir {self.output} "
        return (text + "--resolution 64 --max_steps 2 --logging_steps 1").split()

    def own(self, name: str) -> Path:
        """A file or folder of the release, copied, so that it can be changed."""
        path = self.weights / name
        original = path.resolve()
        path.unlink()
        (shutil.copytree if original.is_dir() else shutil.copyfile)(original, path)
        return path

    def rewrite(self, name: str, change, metadata=None) -> Path:
        """A safetensors file of the release with its tensors {key: array} changed in place by `change`."""
        from ldm.weights.files import TensorFile

        path = self.own(name)
        with TensorFile(path) as file:
            kept = dict(file.metadata)
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, kept if metadata is None else metadata)
        return path

    def checkpoint(self, files: dict) -> Path:
        """A whole checkpoint-1 in the output folder, of small files {name: text}."""
        folder = self.output / "checkpoint-1"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / "complete.json").write_text(json.dumps({"bytes": {name: len(text) for name, text in files.items()}}))
        return folder


# Data ---------------------------------------------------------------------------------------------------------------


@case("data", "data does not exist", "--dataset_path")
def no_dataset(inputs):
    """The dataset folder does not exist"""
    shutil.rmtree(inputs.data)


@case("data", "has no images", "--dataset_path")
def empty_dataset(inputs):
    """The dataset folder is empty"""
    shutil.rmtree(inputs.data)
    inputs.data.mkdir()


@case("data", "1.png", "needs a caption NAME.txt")
def no_caption(inputs):
    """An image has no caption"""
    (inputs.data / "1.txt").unlink()


@case("data", "1.txt", "caption files without an image")
def no_image(inputs):
    """A caption has no image"""
    (inputs.data / "1.png").unlink()


@case("data", "1.txt", "empty")
def empty_caption(inputs):
    """A caption file is empty"""
    (inputs.data / "1.txt").write_text("")


@case("data", "1.txt", "save it as UTF-8")
def caption_in_another_encoding(inputs):
    """A caption is not UTF-8"""
    (inputs.data / "1.txt").write_bytes("ein schöner Hund".encode("latin-1"))


@case("data", "1.png", "share their name")
def two_images_of_one_name(inputs):
    """1.jpg and 1.png share one caption"""
    shutil.copyfile(inputs.data / "1.png", inputs.data / "1.jpg")


@case("data", "1.png", "--skip_corrupt True")
def damaged_image(inputs):
    """An image is cut off"""
    path = inputs.data / "1.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@case("data", "data", "--skip_corrupt leaves nothing")
def all_images_damaged(inputs):
    """--skip_corrupt, and every image is damaged"""
    for path in inputs.data.glob("*.png"):
        path.write_bytes(b"no image")
    return ["--skip_corrupt", "True"]


@case("data", "metadata.jsonl, line 2", "not JSON")
def broken_table(inputs):
    """A line of metadata.jsonl is not JSON"""
    (inputs.data / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "a"}\n{"file_name": 2.png}\n')


@case("data", "9.png", "do not exist")
def table_of_missing_images(inputs):
    """metadata.jsonl names an image that is not there"""
    (inputs.data / "metadata.jsonl").write_text('{"file_name": "9.png", "text": "a"}\n')


@case("data", "metadata.jsonl", "--caption_key NAME")
def table_without_captions(inputs):
    """metadata.jsonl has neither text nor caption"""
    (inputs.data / "metadata.jsonl").write_text('{"file_name": "1.png", "title": "a"}\n')


@case("data", "metadata.jsonl and metadata.csv", "--dataset_path")
def two_tables(inputs):
    """There are metadata.jsonl and metadata.csv"""
    (inputs.data / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "a"}\n')
    (inputs.data / "metadata.csv").write_text("file_name,text\n1.png,a\n")


@case("data", ".tar")
def no_tars(inputs):
    """No tar matches the pattern"""
    return ["--dataset_path", f"{inputs.data}/*.tar"]


@case("data", "shard.tar")
def damaged_tar(inputs):
    """A tar is cut off"""
    (inputs.data / "shard.tar").write_bytes(b"\x01" * 700)
    return ["--dataset_path", f"{inputs.data}/shard.tar"]


@case("data", "--data_filter")
def filter_that_cannot_be_read(inputs):
    """--data_filter is no expression"""
    return ["--data_filter", "width >"]


@case("data", "--data_filter", "keeps none of the 3")
def filter_that_keeps_nothing(inputs):
    """--data_filter keeps no sample"""
    for number in range(3):
        (inputs.data / f"{number}.json").write_text('{"score": 1}')
    return ["--data_filter", "score > 5"]


@case("data", "--caption_key title", "Leave the flag out")
def caption_key_without_table(inputs):
    """--caption_key, and the captions are .txt files"""
    return ["--caption_key", "title"]


# Flags --------------------------------------------------------------------------------------------------------------


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


# Weights ------------------------------------------------------------------------------------------------------------

PRIOR, DECODER, ENCODER = "stage_c_lite.safetensors", "stage_b_lite.safetensors", "effnet_encoder.safetensors"


@case("weights", "weights does not exist", "Download")
def no_weights(inputs):
    """The weights folder does not exist"""
    shutil.rmtree(inputs.weights)


@case("weights", "stage_c_lite.safetensors", "it has")
def no_prior(inputs):
    """The release lacks the prior"""
    (inputs.weights / PRIOR).unlink()


@case("weights", "'2B'", "choose one of")
def unknown_version(inputs):
    """--model_version is no size of the prior"""
    return ["--model_version", "2B"]


@case("weights", PRIOR, "download or write it again")
def prior_cut_off(inputs):
    """The prior's file is cut off"""
    path = inputs.own(PRIOR)
    path.write_bytes(path.read_bytes()[:200_000])


@case("weights", DECODER, "holds stage_b, not stage_c", "give the file of a stage_c")
def decoder_as_prior(inputs):
    """--unet_path is a decoder"""
    return ["--unet_path", str(inputs.weights / DECODER)]


@case("weights", "lora.safetensors", "none of the cascade's networks", "Give a file of the release")
def lora_as_prior(inputs):
    """--unet_path is a LoRA file"""
    path = inputs.folder / "lora.safetensors"
    save_file({"weights.0.lora_up": np.zeros((4, 2), np.float32)}, path)
    return ["--unet_path", str(path)]


@case("weights", PRIOR, "clip_img_mapper.weight")
def prior_lacks_a_tensor(inputs):
    """The prior's file lacks a tensor"""
    inputs.rewrite(PRIOR, lambda tensors: tensors.pop("clip_img_mapper.weight"))


@case("weights", PRIOR, "clip_txt_mapper.weight")
def prior_of_other_shapes(inputs):
    """A tensor of the prior has another shape"""

    def change(tensors):
        tensors["clip_txt_mapper.weight"] = np.zeros((64, 48), np.float32)

    inputs.rewrite(PRIOR, change)


@case("weights", f"{PRIOR}: clip_txt_mapper.weight is not finite", "download or convert it again")
def prior_with_nan(inputs):
    """A weight of the prior is NaN"""

    def change(tensors):
        tensors["clip_txt_mapper.weight"][0, 0] = np.nan

    inputs.rewrite(PRIOR, change)


@case(
    "weights", "text_encoder/model.safetensors: text_projection.weight", "is not finite", "download or convert it again"
)
def text_tower_with_nan(inputs):
    """A weight of CLIP's text tower is NaN"""
    path = inputs.own("text_encoder") / "model.safetensors"
    tensors = load_file(path)
    tensors["text_projection.weight"][0, 0] = np.nan
    save_file(tensors, path, {"format": "pt"})


@case("weights", ENCODER, "the right encoder gives about 0 and 1", "scripts/standardise_encoder.py")
def encoder_of_another_kind(inputs):
    """The encoder's latents are not standardised"""
    inputs.rewrite(ENCODER, lambda tensors: None, metadata={"config": "{}"})


@case("weights", "tokenizer")
def no_tokenizer(inputs):
    """The release lacks the tokenizer"""
    (inputs.weights / "tokenizer").unlink()


@case("weights", "config.json")
def text_encoder_without_config(inputs):
    """The text encoder lacks its config.json"""
    (inputs.own("text_encoder") / "config.json").unlink()


# Checkpoints and output ---------------------------------------------------------------------------------------------


@case("checkpoints", "--resume_from_checkpoint", "is not a folder", "Leave the flag out")
def no_checkpoint(inputs):
    """--resume_from_checkpoint does not exist"""
    return ["--resume_from_checkpoint", str(inputs.output / "checkpoint-9")]


@case("checkpoints", "writing was cut off", "Leave the flag out")
def checkpoint_cut_off(inputs):
    """The checkpoint's writing was cut off"""
    folder = inputs.checkpoint({"model_state.pdparams": "x"})
    (folder / "complete.json").unlink()
    return ["--resume_from_checkpoint", str(folder)]


@case("checkpoints", "model_state.pdparams", "instead of 8", "Leave the flag out")
def checkpoint_changed(inputs):
    """A file of the checkpoint has lost its end"""
    folder = inputs.checkpoint({"model_state.pdparams": "12345678"})
    (folder / "model_state.pdparams").write_text("1234")
    return ["--resume_from_checkpoint", str(folder)]


@case("checkpoints", "checkpoint-1", "LoRA")
def checkpoint_of_a_lora(inputs):
    """The output folder has the checkpoint of a LoRA, and the whole prior is trained"""
    texts = dict.fromkeys(("base", "base_fingerprint"), "x")
    config = {"filters": [".attn"], "tokens": [], "indices": [], "alpha": 1.0, "network": {}, **texts}
    entry = {"lora": {"kind": "lora", "config": config, "notes": {}}}
    inputs.checkpoint({"networks.json": json.dumps(entry), "model_state.pdparams": "x"})


@case("checkpoints", "--replay_bad_batch", "bad_batch.json does not exist", "bad_batches/")
def no_bad_batch(inputs):
    """--replay_bad_batch does not exist"""
    return ["--replay_bad_batch", str(inputs.folder / "bad_batch.json")]


@case("checkpoints", "bad.json is not JSON", "bad_batches/")
def bad_batch_that_is_none(inputs):
    """--replay_bad_batch is no JSON file"""
    (inputs.folder / "bad.json").write_text("no JSON")
    return ["--replay_bad_batch", str(inputs.folder / "bad.json")]


@case("checkpoints", "bad.json has no dropout_seed", "bad_batches/")
def bad_batch_of_another_kind(inputs):
    """--replay_bad_batch is another JSON file"""
    (inputs.folder / "bad.json").write_text("{}")
    return ["--replay_bad_batch", str(inputs.folder / "bad.json")]


@case("checkpoints", "bad.safetensors is damaged", "bad_batches/")
def bad_batch_cut_off(inputs):
    """The batch of --replay_bad_batch is cut off"""
    (inputs.folder / "bad.json").write_text('{"dropout_seed": 1}')
    (inputs.folder / "bad.safetensors").write_bytes(b"x" * 100)
    return ["--replay_bad_batch", str(inputs.folder / "bad.json")]


@case("checkpoints", "has colour, what is trained here takes", "Use the trainer that saved it")
def bad_batch_of_another_trainer(inputs):
    """The batch of --replay_bad_batch is of another trainer"""
    (inputs.folder / "bad.json").write_text('{"dropout_seed": 1}')
    save_file({"colour": np.zeros(3, np.float32)}, inputs.folder / "bad.safetensors")
    return ["--replay_bad_batch", str(inputs.folder / "bad.json")]


@case("checkpoints", "output", "--output_dir")
def output_is_a_file(inputs):
    """--output_dir is a file"""
    inputs.output.write_text("")


@case("checkpoints", "--output_dir", "GiB free", "--save_total_limit 1")
def full_disk(inputs):
    """The disk has no room for the checkpoints"""
    return ["--save_steps", "1"], {"ldm.training.preflight.room.free_on_disk": lambda folder: 1 << 20}


@case("checkpoints", "GiB are free", "--recompute True")
def too_little_memory(inputs):
    """Memory does not suffice for a step"""
    return [], {"ldm.training.preflight.room.available": lambda: 1 << 20}


# Feature cache ------------------------------------------------------------------------------------------------------


@case("cache", "cache", "scripts/cache_features.py")
def no_cache(inputs):
    """The feature cache was never made"""
    return ["--feature_cache", str(inputs.folder / "cache")]


@case("cache", "--flip", "Leave --flip")
def cache_and_flip(inputs):
    """--flip, and the features are cached"""
    return ["--feature_cache", str(inputs.folder / "cache"), "--flip", "True"]


@case("cache", "lacks 1 of 4 samples", "scripts/cache_features.py")
def cache_of_fewer_images(inputs):
    """The feature cache lacks an image"""
    cache = make_cache(inputs)
    shutil.copyfile(inputs.data / "1.txt", inputs.data / "3.txt")
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(inputs.data / "3.png")
    return ["--feature_cache", str(cache)]


@case("cache", "resolution 64 instead of 96", "scripts/cache_features.py")
def cache_of_another_resolution(inputs):
    """The feature cache was made at another resolution"""
    return ["--feature_cache", str(make_cache(inputs)), "--resolution", "96"]


@case("cache", "is damaged", "delete it")
def damaged_cache(inputs):
    """A file of the feature cache is cut off"""
    cache = make_cache(inputs)
    path = next(cache.rglob("rows_*.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    return ["--feature_cache", str(cache)]


def make_cache(inputs) -> Path:
    from ldm.data.feature_cache import FeatureCache
    from ldm.data.folder import ImageTextFolder
    from ldm.frozen import open_release
    from ldm.training.batches.cached import features_recipe
    from ldm.training.batches.fill_cache import fill_cache

    frozen, _ = open_release(inputs.weights, "float32")
    recipe = {**features_recipe(frozen, 64), "dtype": "float32"}
    cache = FeatureCache(inputs.folder / "cache", recipe)
    fill_cache(frozen, ImageTextFolder(inputs.data, 64), cache)
    return inputs.folder / "cache"
