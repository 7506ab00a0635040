"""What a resumed run reads from a checkpoint: each part is checked against the run before any of it is used.

ValueErrors name file, entry and remedy. The files are PaddleNLP's; pickles go through `ldm.weights.pickles`.
"""

import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Optional

import numpy as np
import paddle
from paddlenlp.trainer.trainer_callback import TrainerState

from ldm.common.json_files import read_json
from ldm.weights.finite import all_finite
from ldm.weights.pickles import NAME_TABLE, read_pickle
from ldm.weights.plan import check_same_shapes

MOMENTS = re.compile(r"(?P<parameter>.+?)(_fp32_master_\d+)?_(?P<kind>moment1|moment2|beta1_pow_acc|beta2_pow_acc)_\d+")
KINDS = 4  # of the above, for every trained parameter
MOST_STEPS = 10**9


def damaged(path, what: str) -> ValueError:
    """The error for a part of a checkpoint that a run cannot go on from."""
    path = Path(path)
    return ValueError(
        f"{path} {what}. Nothing was changed: take {path.parent.name} out of its folder and run the same command again, which "
        "goes on from the checkpoint before it; or name another one with --resume_from_checkpoint."
    )


# Weights ------------------------------------------------------------------------------------------------------------


def read_weights(path, model) -> dict:
    """{key: array} for `model.set_state_dict`: every key, shape and type as the model has them, every number finite."""
    state, targets = read_pickle(path), model.state_dict()
    if not isinstance(state, dict):
        raise damaged(path, f"holds a {type(state).__name__}, not a dictionary of weights")
    state.pop(NAME_TABLE, None)
    arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    if strange := state.keys() - arrays.keys():
        raise damaged(path, f"has an entry {str(next(iter(strange)))[:80]!r} that is no array")
    check_same_shapes(
        {key: tuple(value.shape) for key, value in arrays.items()},
        {key: tuple(value.shape) for key, value in targets.items()},
        str(path),
    )
    for key, array in arrays.items():
        stored, wanted = _dtype_of(array), str(targets[key].dtype).rsplit(".", 1)[-1]
        if stored != wanted:
            raise ValueError(
                f"{path}: {key} is {stored}, the run's {wanted}: continue with the precision it was begun with "
                "(--fp16_opt_level in options.json), or choose another --output_dir."
            )
        if not all_finite(array):
            raise damaged(path, f"has NaN or infinity in {key}")
    return arrays


def _dtype_of(array) -> str:
    return "bfloat16" if array.dtype == np.uint16 else str(array.dtype)


# Optimiser ----------------------------------------------------------------------------------------------------------


def read_optimizer(path, parameters, masters: bool) -> dict:
    """An AdamW's state for `set_state_dict`, tensors by name, with all moments of all `parameters` and of no others.

    parameters: those that this rank's optimiser moves. masters: whether it keeps float32 originals of 16-bit ones.
    """
    state = read_pickle(path)
    if not isinstance(state, dict):
        raise damaged(path, f"holds a {type(state).__name__}, not an optimiser's state")
    names, schedule = state.pop(NAME_TABLE, {}), state.pop("LR_Scheduler", None)
    originals = state.pop("master_weights", {})
    if not (isinstance(names, dict) and isinstance(originals, dict)):
        raise damaged(path, "is not laid out as an optimiser's state")
    arrays = {key: _named_array(path, key, value, names) for key, value in state.items()}
    weights = {key: _named_array(path, key, value, {}) for key, value in originals.items()}
    by_name = {parameter.name: tuple(parameter.shape) for parameter in parameters}
    _check_moments(path, arrays, by_name)
    if masters:
        wrong = [name for name, shape in by_name.items() if name not in weights or weights[name][1].shape != shape]
        if wrong:
            raise damaged(path, f"lacks the float32 weight of {wrong[0]}, or has it in another shape")
    restored = {key: _tensor(*entry) for key, entry in arrays.items()}
    if weights:
        restored["master_weights"] = {key: _tensor(*entry) for key, entry in weights.items()}
    if schedule is not None:
        restored["LR_Scheduler"] = check_schedule(path, schedule)
    return restored


def _named_array(path, key, value, names: dict):
    """(name of the tensor, array), however Paddle has pickled it; all numbers finite."""
    name = names.get(key, key)
    if isinstance(value, tuple) and len(value) == 2:
        name, value = value
    if not (isinstance(name, str) and isinstance(value, np.ndarray)):
        raise damaged(path, f"has an entry {str(key)[:80]!r} that is no array")
    if not all_finite(value):
        raise damaged(path, f"has NaN or infinity in {key}")
    return name, value


def _tensor(name: str, array) -> paddle.Tensor:
    tensor = paddle.to_tensor(array)
    tensor.name = name
    return tensor


def _check_moments(path, arrays: dict, shapes: dict):
    """All moments of every parameter {name: shape}, each in its shape (adamw_mini keeps one second moment per tensor)."""
    found = {name: set() for name in shapes}
    for key, (_, array) in arrays.items():
        match = MOMENTS.fullmatch(key)
        parameter, kind = (match["parameter"], match["kind"]) if match else (None, None)
        if parameter not in shapes:
            raise damaged(path, f"has {key[:80]!r}, which belongs to nothing that this run trains")
        if (
            array.size != 1
            and array.shape != shapes[parameter]
            or kind == "moment1"
            and array.shape != shapes[parameter]
        ):
            raise damaged(path, f"has {key} in shape {array.shape}, the parameter's is {shapes[parameter]}")
        found[parameter].add(kind)
    incomplete = [name for name, kinds in found.items() if len(kinds) != KINDS]
    if incomplete and any(found.values()):  # none at all: every step so far was skipped
        raise damaged(path, f"lacks moments of {len(incomplete)} of {len(found)} parameters, {incomplete[0]} the first")


def check_schedule(path, state) -> dict:
    """A learning rate schedule's state, as `paddle.optimizer.lr` has it."""
    if not isinstance(state, dict) or not {"last_epoch", "last_lr"} <= state.keys():
        raise damaged(path, "has no learning rate schedule in it")
    last, rate = state["last_epoch"], state["last_lr"]
    if type(last) is not int or not -1 <= last <= MOST_STEPS:
        raise damaged(path, f"says that the schedule is at step {str(last)[:40]}")
    if type(rate) not in (int, float) or not math.isfinite(rate):
        raise damaged(path, f"says that the learning rate is {str(rate)[:40]}")
    return state


def check_scaler(path, state) -> dict:
    """The state of fp16's loss scaling."""
    if not isinstance(state, dict):
        raise damaged(path, "is no state of a loss scaler")
    scale = np.asarray(state.get("scale"))
    counts = [state.get(name) for name in ("incr_every_n_steps", "decr_every_n_nan_or_inf", "incr_count", "decr_count")]
    ratios = [state.get(name) for name in ("incr_ratio", "decr_ratio")]
    if scale.size != 1 or scale.dtype.kind != "f" or not np.isfinite(scale).all() or scale.item() <= 0:
        raise damaged(path, f"has the loss scale {str(state.get('scale'))[:40]}")
    if not all(type(count) is int and 0 <= count <= MOST_STEPS for count in counts):
        raise damaged(path, f"has the counts {str(counts)[:80]}")
    if not all(type(ratio) in (int, float) and 0 < ratio < 1e6 for ratio in ratios):
        raise damaged(path, f"has the ratios {str(ratios)[:80]}")
    if type(state.get("use_dynamic_loss_scaling")) is not bool:
        raise damaged(path, "does not say whether the loss scale is dynamic")
    return {**state, "scale": scale.reshape(-1)}


# Progress -----------------------------------------------------------------------------------------------------------


def check_progress(folder) -> Optional[int]:
    """The step of a checkpoint's trainer_state.json, which PaddleNLP reads later; None if it has none."""
    path = Path(folder) / "trainer_state.json"
    if not path.is_file():
        return None
    state = read_json(path, remedy="take another checkpoint with --resume_from_checkpoint")
    if unknown := state.keys() - {field.name for field in fields(TrainerState)}:
        raise damaged(path, f"has the unknown entry {next(iter(unknown))[:80]!r}")
    for name in ("global_step", "max_steps"):
        if type(state.get(name, 0)) is not int or not 0 <= state.get(name, 0) <= MOST_STEPS:
            raise damaged(path, f"has {name} {str(state[name])[:40]}, which is no number of steps")
    history = state.get("log_history", [])
    if not (isinstance(history, list) and all(isinstance(entry, dict) and _plain(entry) for entry in history)):
        raise damaged(path, "has a log_history that is no list of entries")
    if strange := [name for name, value in state.items() if name != "log_history" and not _plain({name: value})]:
        raise damaged(path, f"has {strange[0]} that is neither number nor text")
    step, name = state.get("global_step", 0), re.fullmatch(r"checkpoint-(\d+)", Path(folder).resolve().name)
    if name and int(name[1]) != step:
        raise damaged(path, f"says step {step}, but its folder is {name[0]}")
    return step


def _plain(entry: dict) -> bool:
    """Whether all values are numbers, texts or nothing: PaddleNLP goes into whatever it finds."""
    return all(value is None or isinstance(value, (bool, int, float, str)) for value in entry.values())
