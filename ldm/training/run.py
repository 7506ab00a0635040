"""One training run from parsed arguments: everything that can be checked is checked before weights are loaded."""

import json
from functools import partial
from pathlib import Path

from paddlenlp.trainer import get_last_checkpoint

from ldm.atomic import atomic_path
from ldm.data.folder import ImageTextFolder
from ldm.data.transforms import open_rgb
from ldm.images import check_writable
from ldm.model_c import ModelC
from ldm.sizes import MINIMUM, TRAINING_FACTOR, output_size_of_training
from ldm.training.arguments import resolved
from ldm.training.callbacks import Look
from ldm.training.collate import Collator
from ldm.training.trainer import CascadeTrainer


def find_checkpoint(args):
    """The checkpoint to resume from: the one named, else the last in the output folder, else None."""
    if args.resume_from_checkpoint is not None:
        if not Path(args.resume_from_checkpoint).is_dir():
            raise FileNotFoundError(f"--resume_from_checkpoint {args.resume_from_checkpoint} is not a folder.")
        return args.resume_from_checkpoint
    if args.overwrite_output_dir or not Path(args.output_dir).is_dir():
        return None
    return get_last_checkpoint(args.output_dir)


def check_images(dataset: ImageTextFolder):
    """Read every image once; ValueError names the unreadable ones, all of them."""
    problems = []
    for pair in dataset.pairs:
        try:
            open_rgb(pair.image)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))


def save_options(folder, *groups):
    """Write every option as finally used to options.json."""
    with atomic_path(Path(folder) / "options.json") as temporary:
        temporary.write_text(json.dumps(resolved(*groups), indent=2, default=str, ensure_ascii=False) + "\n")


def build_trainer(model_args, data_args, args) -> CascadeTrainer:
    """Model, data and callbacks put together. ValueError and OSError for anything wrong with the inputs."""
    check_writable(args.output_dir)
    # The dataset is checked before gigabytes of weights are read
    dataset = ImageTextFolder(data_args.dataset_path, data_args.resolution, clip_size=0)
    check_images(dataset)
    model = ModelC(model_args.weights_path, model_args.model_version, "float32", model_args.unet_path)
    dataset.clip_size = model.frozen.image.image_size
    tokenize = partial(model.frozen.text.tokenize, max_length=model_args.model_max_length)
    tokenize([""])  # refuses a --model_max_length that the towers cannot take

    trainer = CascadeTrainer(model, model_args, args=args, train_dataset=dataset, data_collator=Collator(tokenize))
    output_size = max(MINIMUM, args.image_logging_size or output_size_of_training(data_args.resolution))
    trainer.add_callback(Look(trainer, args.image_logging_caption or dataset.captions[0], output_size))
    grid = data_args.resolution // TRAINING_FACTOR
    if args.should_save:
        save_options(args.output_dir, model_args, data_args, args)
    print(
        f"{len(dataset)} captioned images; crops of {data_args.resolution} px, latents of {grid} x {grid}, as "
        f"in images of {output_size_of_training(data_args.resolution)} px."
    )
    return trainer


def train(model_args, data_args, args):
    """Train to the end and save the final checkpoint in the output folder."""
    checkpoint = find_checkpoint(args)
    trainer = build_trainer(model_args, data_args, args)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    return result
