"""A batch whose numbers went bad, in two files: its tensors, and what is known of its samples; and running it again."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import paddle
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ldm.common.atomic import atomic_path
from ldm.common.json_files import read_json
from ldm.training.non_finite.origin import Origin, find_origin
from ldm.training.task import Task

FOLDER = "bad_batches"


@dataclass(frozen=True)
class BatchRecord:
    """What one forward pass was given: a batch with its draws, and what identifies its samples and its dropout."""

    step: int  # optimiser steps done before it
    micro_step: int
    rank: int
    indices: list
    dropout_seed: int
    drawn: dict


def save_bad_batch(output_dir, task: Task, batch: BatchRecord, origin: Origin, what: str) -> str:
    """Write the batch to `output_dir`/bad_batches as .safetensors and .json; one sentence about it for the user."""
    stem = Path(output_dir) / FOLDER / f"step_{batch.step + 1:06d}_{batch.micro_step}_rank_{batch.rank}"
    with atomic_path(stem.with_suffix(".safetensors")) as temporary:
        save_file({name: value.numpy() for name, value in batch.drawn.items()}, temporary)
    samples = describe_samples(task, batch)
    about = {name: value for name, value in asdict(batch).items() if name != "drawn"}
    about |= {"what": what, "origin": str(origin), **asdict(origin), "samples": samples}
    with atomic_path(stem.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(_plain(about), indent=2, ensure_ascii=False) + "\n")
    guilty = [sample for sample in samples if not math.isfinite(sample.get("loss", 0.0))] or samples
    listed = "; ".join(", ".join(f"{name} {value}" for name, value in sample.items()) for sample in guilty)
    return (
        f"Step {batch.step + 1}: the {what} is not finite; {origin}. Samples: {listed}. The batch is saved: run the same "
        f"command with --replay_bad_batch {stem.with_suffix('.json')}."
    )


def describe_samples(task: Task, batch: BatchRecord) -> list[dict]:
    """Index and name of every sample, with noise level and unweighted loss where the model has them."""
    samples = [{"index": index, "name": sample_name(task.dataset, index)} for index in batch.indices]
    columns = {"t": batch.drawn.get("t")}
    if (objective := task.objective) is not None:  # of the pass that found the origin
        columns |= {"log_snr": objective.log_snr, "loss": objective.per_sample}
    for name, column in columns.items():
        if column is not None:
            for sample, value in zip(samples, column.tolist()):
                sample[name] = value
    return samples


def sample_name(dataset, index: int) -> str:
    """What a dataset calls a sample: its image file, else its caption."""
    return dataset.source.label(index) if dataset.source is not None else str(dataset.captions[index])


def replay(task: Task, path) -> Origin:
    """Run a saved batch (its .json file) through the task's model as in training; where its non-finite numbers come from."""
    seed, drawn = _read(path)
    parameters = task.takes
    required = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    if not required <= drawn.keys() <= parameters.keys():
        raise ValueError(
            f"--replay_bad_batch {path} has {', '.join(sorted(drawn))[:200]}, what is trained here takes "
            f"{', '.join(parameters)}. Use the trainer that saved it."
        )
    task.model.train()
    return find_origin(task, drawn, seed, backward=True)


def _read(path) -> tuple[int, dict]:
    """The dropout seed and the tensors {name: tensor} of a saved batch. ValueError names the file that is damaged."""
    remedy = f"take a .json file of {FOLDER}/ in the output folder for --replay_bad_batch"
    seed = read_json(path, remedy=remedy).get("dropout_seed")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ValueError(f"{path} has no dropout_seed: {remedy}.")
    try:
        arrays = load_file(Path(path).with_suffix(".safetensors"))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{Path(path).with_suffix('.safetensors')} is damaged ({error}): {remedy}.") from error
    return seed, {name: paddle.to_tensor(array) for name, array in arrays.items()}


def _plain(value):
    """`value` for JSON, which knows neither infinity nor NaN: those become text."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
