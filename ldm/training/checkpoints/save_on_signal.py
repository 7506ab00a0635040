"""--save_on_signal: Ctrl-C or SIGTERM finishes the step and saves a checkpoint before the run ends."""

import atexit
from pathlib import Path

import paddle
from paddlenlp.trainer import TrainerCallback

from ldm.common.child_processes import need_workers
from ldm.common.cli.signals import Stopped, current


class SaveOnSignal(TrainerCallback):
    """Notes a signal, and acts on it where a step ends; then nothing follows, no final weights either.

    Ranks hear of it at different times, so they agree after every step: a few hundred microseconds, and only with this
    flag. The launcher of several ranks gives them 30 seconds.
    """

    def __init__(self):
        self.signals, self.agreed = current(), 0
        if self.signals is None:
            raise ValueError("--save_on_signal True: only the training programs hear signals. Leave it out here.")

    def on_train_begin(self, args, state, control, **kwargs):
        self.signals.patient = True
        need_workers(True)
        atexit.register(need_workers, False)  # before multiprocessing ends its children and waits for them

    def on_step_end(self, args, state, control, **kwargs):
        self.agreed = self._heard(args)
        if self.agreed:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        self.signals.patient = False
        need_workers(False)
        if self.agreed:  # a signal after the last step changes nothing: only the final weights are left to write
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            raise Stopped(self.agreed, f"{checkpoint} is saved, the same command goes on from it.")

    def _heard(self, args) -> int:
        """The signal that some rank has got; 0 if none has."""
        number = self.signals.number or 0
        if args.world_size > 1:
            heard = paddle.to_tensor([number], dtype="int32")
            paddle.distributed.all_reduce(heard, op=paddle.distributed.ReduceOp.MAX)
            number = int(heard)
        return number
