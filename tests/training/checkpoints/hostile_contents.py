"""What a hostile or damaged checkpoint may hold: changes of a good one, by name, and what is said of them. No test itself."""

import hashlib
import json
import pickle

import numpy as np
from safetensors.numpy import load_file, save_file

from ldm.training.checkpoints.staging import MANIFEST
from ldm.weights.pickles import read_pickle


def list_anew(checkpoint):
    """Write complete.json as if the folder had been saved as it is now."""
    files = sorted(path for path in checkpoint.iterdir() if path.name != MANIFEST)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    sizes = {path.name: path.stat().st_size for path in files}
    (checkpoint / MANIFEST).write_text(json.dumps({"bytes": sizes, "sha256": sums}))


# Contents -----------------------------------------------------------------------------------------------------------


def pickled(name, change):
    def spoil(checkpoint):
        state = read_pickle(checkpoint / name)
        changed = change(state)
        (checkpoint / name).write_bytes(pickle.dumps(state if changed is None else changed, protocol=4))

    return name, spoil


def written(name, text):
    return name, lambda checkpoint: (checkpoint / name).write_text(text)


def jsoned(name, **changes):
    def spoil(checkpoint):
        state = json.loads((checkpoint / name).read_text())
        (checkpoint / name).write_text(json.dumps({**state, **changes}))

    return name, spoil


def first(state, piece: str) -> str:
    return next(key for key in state if piece in key)


def with_nan(state, piece):
    key = first(state, piece)
    state[key] = np.where(np.arange(state[key].size).reshape(state[key].shape) == 0, np.nan, state[key]).astype("f4")


def smaller(state, piece):
    key = first(state, piece)
    state[key] = state[key].reshape(-1)[:1]


def averaged(change):
    def spoil(checkpoint):
        path = checkpoint / "ema.safetensors"
        tensors, notes = load_file(path), {"optimization_step": "4"}
        change(tensors, notes)
        save_file(tensors, path, notes)

    return "ema.safetensors", spoil


MODEL, OPTIMISER, RNG = "model_state.pdparams", "optimizer.pdopt", "rng_state.pth"
CASES = {
    "no weights": pickled(MODEL, lambda state: {}),
    "weights missing": pickled(MODEL, lambda state: state.pop(first(state, "clf"))),
    "weights of another shape": pickled(MODEL, lambda state: smaller(state, "clf")),
    "weights of another type": pickled(MODEL, lambda state: {**state, first(state, "clf"): state[first(state, "clf")].astype("f8")}),
    "weights too many": pickled(MODEL, lambda state: state.update(more=np.ones(1))),
    "NaN in the weights": pickled(MODEL, lambda state: with_nan(state, "clf")),
    "weights that are texts": pickled(MODEL, lambda state: {key: "x" for key in state}),
    "weights that are a list": pickled(MODEL, lambda state: [state]),
    "no moments": pickled(OPTIMISER, lambda state: {"LR_Scheduler": state["LR_Scheduler"], "x_moment1_0": np.ones(1)}),
    "moment missing": pickled(OPTIMISER, lambda state: state.pop(first(state, "moment2"))),
    "moment of another shape": pickled(OPTIMISER, lambda state: smaller(state, "moment1")),
    "NaN in a moment": pickled(OPTIMISER, lambda state: with_nan(state, "moment1")),
    "moments of another run": pickled(OPTIMISER, lambda state: state.update(linear_99_moment1_0=np.ones(1))),
    "moments that are a list": pickled(OPTIMISER, lambda state: []),
    "schedule without a step": pickled("scheduler.pdparams", lambda state: {"last_lr": 1.0}),
    "schedule at a text": pickled("scheduler.pdparams", lambda state: {**state, "last_epoch": "4"}),
    "rate that is NaN": pickled("scheduler.pdparams", lambda state: {**state, "last_lr": float("nan")}),
    "random numbers of nothing": pickled(RNG, lambda state: {}),
    "random position beyond the end": pickled(RNG, lambda state: {**state, "numpy": (*state["numpy"][:2], 10**6, 0, 0.0)}),
    "random state too short": pickled(RNG, lambda state: {**state, "python": (3, (1, 2), None)}),
    "twister beyond the end": pickled(RNG, lambda state: {**state, "cpu": (-1, 1, 0, [49, 32] * 312 + [57] * 9)}),
    "progress that is a list": written("trainer_state.json", "[]"),
    "progress that is cut off": written("trainer_state.json", '{"global_step": '),
    "progress at a text": jsoned("trainer_state.json", global_step="four"),
    "progress beyond reason": jsoned("trainer_state.json", global_step=10**30),
    "progress of another step": jsoned("trainer_state.json", global_step=3),
    "progress with an unknown entry": jsoned("trainer_state.json", unknown=1),
    "history that is a number": jsoned("trainer_state.json", log_history=3),
    "history that is nested": jsoned("trainer_state.json", log_history=[{"loss": json.loads("[" * 900 + "]" * 900)}]),
    "an entry that is nested": jsoned("trainer_state.json", best_metric=json.loads("[" * 900 + "]" * 900)),
    "nested progress": written("trainer_state.json", "[" * 100_000),
    "networks that are a list": written("networks.json", "[1]"),
    "networks that are numbers": written("networks.json", '{"unet": 1}'),
    "networks of an unknown kind": jsoned("networks.json", unet={"kind": "os", "config": {}, "notes": {}}),
    "networks with unknown entries": jsoned("networks.json", unet={"kind": "stage_c", "config": {}, "code": "x"}),
    "average missing a tensor": averaged(lambda tensors, notes: tensors.pop(first(tensors, "clf"))),
    "average of another shape": averaged(lambda tensors, notes: smaller(tensors, "clf")),
    "NaN in the average": averaged(lambda tensors, notes: with_nan(tensors, "clf")),
    "average of no steps": averaged(lambda tensors, notes: notes.update(optimization_step="many")),
    "average without its steps": averaged(lambda tensors, notes: notes.clear()),
    "buckets that are texts": written("adaptive_weight.json", '{"edges": ["a"], "losses": ["b"]}'),
    "buckets of another size": written("adaptive_weight.json", '{"edges": [1], "losses": [2]}'),
    "buckets that are missing": written("adaptive_weight.json", "{}"),
}  # fmt: skip
