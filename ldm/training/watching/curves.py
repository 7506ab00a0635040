"""Training curves as a picture: a column per run, the loss above, and below it the loss by noise level where it is known."""

import json
from pathlib import Path

from ldm.common.atomic import atomic_path
from ldm.training.checkpoints.staging import checkpoint_folders

PANEL = (3.2, 2.6)  # inches
PREFIX = "loss_t"  # of the losses by noise level, see noise_level_losses.py


def read_history(run) -> list[dict]:
    """The logged entries of a Trainer's output folder: the finished run's or its last checkpoint's, whichever got further."""
    folder = Path(run)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give the --output_dir of a training run.")
    candidates = [place / "trainer_state.json" for place in (folder, *checkpoint_folders(folder)[-1:])]
    states = [json.loads(path.read_text()) for path in candidates if path.is_file()]
    if not states:
        raise FileNotFoundError(f"{folder} has no trainer_state.json: it appears with the first checkpoint.")
    return max(states, key=lambda state: state.get("global_step", 0))["log_history"]


def series(history: list[dict], name: str) -> tuple[list, list]:
    """(steps, values) of one logged quantity."""
    found = [(entry["global_step"], entry[name]) for entry in history if name in entry]
    return [step for step, _ in found], [value for _, value in found]


def noise_level_losses_of(history: list[dict]) -> list[str]:
    """The names of the losses by noise level, from the least noise up."""
    return sorted({name for entry in history for name in entry if name.startswith(PREFIX)})


def labels(runs: list) -> list[str]:
    """What to call the runs: their folders' names, or the whole paths where two have the same."""
    names = [Path(run).name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def plot_runs(runs: list, path):
    """Draw the curves of `runs` (output folders) side by side to a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    histories = [read_history(run) for run in runs]
    known = any(noise_level_losses_of(history) for history in histories)
    size = (PANEL[0] * len(histories), PANEL[1] * (1 + known))
    figure, panels = pyplot.subplots(1 + known, len(histories), figsize=size, squeeze=False)
    for axes, history in zip(panels[1] if known else (), histories):
        names = noise_level_losses_of(history)
        for index, name in enumerate(names):
            colour = pyplot.get_cmap("viridis")(index / max(1, len(names) - 1))
            label = name.removeprefix(PREFIX).replace("_", "-")
            axes.plot(*series(history, name), color=colour, linewidth=0.8, label=label)
        axes.set_yscale("log")
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(color="0.93", which="both")
        if names:
            axes.legend(fontsize=5, ncols=2, title="noise, % of time", title_fontsize=5)
    for axes, name, history in zip(panels[0], labels(runs), histories):
        axes.plot(*series(history, "loss"), color="0.75", linewidth=0.8, label="steps")
        axes.plot(*series(history, "fixed_loss"), "o-", color="tab:blue", markersize=3, label="fixed noise")
        axes.set_yscale("log")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(color="0.93", which="both")
    panels[0][0].set_ylabel("loss", fontsize=8)
    if known:
        panels[1][0].set_ylabel("unweighted loss", fontsize=8)
    panels[0][0].legend(fontsize=7)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    pyplot.close(figure)
