"""A training of the prior that SIGKILLs itself at a given moment; started by test_killed_runs.py, not a test itself.

Arguments: a JSON object, then the trainer's command line. In the object: `order`, a file to which every batch's step and
sample indices are appended, and `kill`, one of
  {"after": s}                   s seconds after the first training step began
  {"saving": n, "after": s}      s seconds after the saving of checkpoint n began
  {"half": n, "file": name}      when half of that file of checkpoint n has been written
  {"unnamed": n}                 when checkpoint n is staging, before it has its name
"""

import json
import os
import signal
import sys
import threading

from ldm.common.runtime import prepare

prepare()

import paddle  # noqa: E402

from ldm.training.checkpoints import staging  # noqa: E402
from ldm.training.flags.arguments import parse_into  # noqa: E402
from ldm.training.run import train  # noqa: E402
from ldm.training.tasks import prior  # noqa: E402
from ldm.training.trainer import CascadeTrainer  # noqa: E402


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner, name, action):
    """Have `action(*arguments)` called before every call of owner.name."""
    original = getattr(owner, name)

    def wrapped(*arguments, **options):
        action(*arguments)
        return original(*arguments, **options)

    setattr(owner, name, wrapped)


def main(settings: dict, argv: list):
    kill, started = settings.get("kill") or {}, []

    def computing(trainer, model, inputs, *_):
        with open(settings["order"], "a") as order:
            order.write(json.dumps([trainer.state.global_step, trainer._micro_step, inputs["index"].tolist()]) + "\n")
        if "after" in kill and "saving" not in kill and not started:
            started.append(threading.Timer(kill["after"], die))
            started[0].start()

    def saving(trainer, *_):
        if kill.get("saving") == trainer.state.global_step:
            threading.Timer(kill["after"], die).start()

    def writing(state, path, *_):
        if f"checkpoint-{kill.get('half')}" in str(path) and kill["file"] in str(path):
            original(state, path)
            os.truncate(path, os.path.getsize(path) // 2)
            die()

    def publishing(staged, final):
        if final.name == f"checkpoint-{kill.get('unnamed')}":
            die()

    original = paddle.save
    before(CascadeTrainer, "compute_loss", computing)
    before(CascadeTrainer, "_save_checkpoint", saving)
    before(paddle, "save", writing)
    before(staging, "_publish", publishing)
    train(prior.build_task, *parse_into(prior.GROUPS, argv))
    for timer in started:
        timer.cancel()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
