"""A training of the prior whose third step meets noise that is no number on rank 1 only; started by test_two_ranks.py.

Prints, per rank, whether that step left the weights alone and the next one moved them, and a sum of the last weights.
"""

import json
import math
import sys

from ldm.common.runtime import prepare

prepare()

import numpy as np  # noqa: E402

from ldm.training.flags.arguments import parse_into  # noqa: E402
from ldm.training.run import build_trainer  # noqa: E402
from ldm.training.tasks import prior  # noqa: E402

trainer = build_trainer(prior.build_task, *parse_into(prior.GROUPS, sys.argv[1:]))
draw, on_step_end, history = trainer.task.draw, trainer.guard.on_step_end, []


def poisoned(streams, batch, times=None):
    drawn = draw(streams, batch, times)
    if trainer.state.global_step == 2 and trainer.args.process_index == 1:
        drawn["epsilon"][1, 0, 0, 0] = math.nan
    return drawn


def remember(*arguments, **options):
    state = trainer.model.state_dict()
    history.append(np.concatenate([state[key].numpy().ravel() for key in sorted(state)]))
    return on_step_end(*arguments, **options)


trainer.task.draw, trainer.guard.on_step_end = poisoned, remember
trainer.train()
same, moved = np.array_equal(history[2], history[1]), not np.array_equal(history[3], history[2])
report = {"skipped": same, "moved": moved, "sum": float(np.abs(history[-1].astype(np.float64)).sum())}
print("REPORT", json.dumps(report))
