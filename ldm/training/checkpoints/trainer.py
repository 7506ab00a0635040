"""CheckpointingTrainer: PaddleNLP's Trainer with checkpoints that are complete, finite, and safe and exact to read back.

PaddleNLP reads its checkpoints with `paddle.load`, which executes whatever a pickle asks for; here nothing does.
"""

import copy
from pathlib import Path

import paddle
from paddlenlp.trainer import Trainer
from paddlenlp.trainer.trainer import OPTIMIZER_NAME, SCALER_NAME, SCHEDULER_NAME, TRAINING_ARGS_NAME, _add_variant
from paddlenlp.trainer.utils.helper import broadcast_dp_optimizer, distributed_file, distributed_isfile

from ldm.common.atomic import atomic_path
from ldm.training.checkpoints import restore
from ldm.training.checkpoints.files import EMA_FILE, STATE_FILE, check_networks, save_networks
from ldm.training.checkpoints.rng_state import check_rng_state, restore_rng_state
from ldm.training.checkpoints.staging import STAGING, finish, rotate, set_aside, stage, staged_for
from ldm.training.noise_levels import ADAPTIVE_FILE
from ldm.training.non_finite.guard import NonFinite, highest_of_ranks
from ldm.training.optimizer import gradient_shard, master_weights
from ldm.weights.finite import finite
from ldm.weights.pickles import read_pickle

LIKELY_CAUSE = "a learning rate that is too high, most often; the loss of the last steps shows when it began"


class CheckpointingTrainer(Trainer):
    """Everything about checkpoints. A subclass has `task`, `weighting`, `average` (or None) and `pace`."""

    def __init__(self, **options):
        self.keeps_evidence = False  # while a checkpoint that is not finite is written
        super().__init__(**options)
        self._save_ckpt_func = atomic(self._save_ckpt_func)

    def wait_for_ranks(self):
        """Go on when every rank has got here."""
        if self.args.world_size > 1:
            paddle.distributed.barrier()

    # Writing ----------------------------------------------------------------------------------------------------

    def non_finite_tensor(self):
        """The first tensor of what a checkpoint would hold that has NaN or infinity, by name; None if all is well.

        A few seconds for a billion parameters: one pass over weights, average and the optimiser's states.
        """
        parts = {"": self.task.model.state_dict(), "the optimiser's ": moments_of(self.optimizer)}
        if self.average is not None:
            parts["the average's "] = dict(zip(self.average.keys, self.average.model.shadow_params))
        for part, tensors in parts.items():
            for name, tensor in tensors.items():
                if not finite(tensor):
                    return part + name
        return None

    def _save_checkpoint(self, model, metrics=None):
        with self.pace.aside():
            tensor = self.non_finite_tensor()
            if highest_of_ranks(int(tensor is not None)):
                self._keep_as_evidence(model, metrics, tensor)
            self._save_complete_checkpoint(model, metrics)

    def _save_complete_checkpoint(self, model, metrics):
        """PaddleNLP's checkpoint, written in a staging folder and named only when every rank has written its part."""
        final = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self._save_staged(final, model, metrics)
        for turn in self._turns():
            if turn and (final.parent / STAGING / final.name).is_dir():
                with staged_for(final):
                    finish(final)
                rotate(final.parent, self.args.save_total_limit)
            self.wait_for_ranks()

    def _turns(self):
        """Who names a checkpoint: the first node, then others with a disk of their own."""
        return self.args.process_index == 0, self.args.local_process_index == 0

    def _save_staged(self, final: Path, model, metrics):
        args, output_dir = self.args, self.args.output_dir
        if args.local_process_index == 0:
            stage(final)
        self.wait_for_ranks()
        args.output_dir = str(final.parent / STAGING)
        try:
            with staged_for(final):
                super()._save_checkpoint(model, metrics)
        finally:
            args.output_dir = output_dir
        self.wait_for_ranks()

    def _keep_as_evidence(self, model, metrics, tensor):
        """Write the checkpoint where no run takes it for one, and end this run."""
        final, kept = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}", None
        self.keeps_evidence = True
        self._save_staged(final, model, metrics)
        for turn in self._turns():
            if turn and (final.parent / STAGING / final.name).is_dir():
                kept = set_aside(final)
            self.wait_for_ranks()
        raise NonFinite(
            f"Step {self.state.global_step}: {tensor or 'a tensor of another rank'} has NaN or infinity. No checkpoint was "
            f"written and none was removed; this state is kept in {kept or final.parent} to be looked at. The cause is "
            f"{LIKELY_CAUSE}. Run again with a lower --learning_rate, which goes on from the last complete checkpoint."
        )

    def save_final(self):
        """The finished run's weights in the output folder; NonFinite, and nothing is written, unless they are finite."""
        tensor = self.non_finite_tensor()
        if highest_of_ranks(int(tensor is not None)):
            raise NonFinite(
                f"The run has ended, and {tensor or 'a tensor of another rank'} has NaN or infinity: the weights are not "
                f"written to {self.args.output_dir}. The cause is {LIKELY_CAUSE}. Checkpoints written before are as they were."
            )
        self.save_model()

    def _rotate_checkpoints(self, use_mtime=False, output_dir=None):
        """Not when PaddleNLP asks for it: the new checkpoint has no name yet, and the old ones may still be needed."""

    def _save(self, output_dir=None, state_dict=None, **options):
        folder = Path(output_dir or self.args.output_dir)
        if self.args.should_save:  # before the weights: where those are, the rest is
            save_networks(folder, self.task.networks, files=not self.keeps_evidence)
            self.weighting.save(folder)
            if self.average is not None:
                self.average.save(folder, self.keeps_evidence)
        super()._save(output_dir, state_dict, **options)
        if self.args.should_save and folder.parent.name == STAGING:
            args = copy.copy(self.args)
            args.output_dir = str(folder.parent.parent)
            paddle.save(args, str(folder / TRAINING_ARGS_NAME))  # a pickle for people; nothing here reads it

    # Reading ----------------------------------------------------------------------------------------------------

    def load_weights(self, checkpoint):
        """The weights of a checkpoint folder, and what belongs to them; None: nothing changes."""
        self._load_from_checkpoint(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint=None):
        if resume_from_checkpoint is None:
            return
        folder = Path(resume_from_checkpoint)
        restore.check_progress(folder)
        check_networks(folder, self.task.networks)
        if self.args.dataset_rank == 0:  # PaddleNLP sends the first rank's weights to the others
            self._set_state_dict_in_model(restore.read_weights(folder / self._named(STATE_FILE), self.task.model))
        if self.average is not None:
            self.average.load(folder / EMA_FILE, read=self.args.process_index == 0)
        if self.weighting.adaptive is not None:
            self.weighting.load(distributed_file(str(folder / ADAPTIVE_FILE)))

    def _named(self, name: str) -> str:
        return _add_variant(name, self.args.weight_name_suffix)

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint is None:
            return
        folder, state = Path(checkpoint), None
        if self.args.data_parallel_rank == 0:
            own, _ = gradient_shard(self._trained(), self.optimizer)
            path = folder / _add_variant(OPTIMIZER_NAME, self.args.optimizer_name_suffix)
            state = restore.read_optimizer(path, own, self._keeps_master_weights())
        if self.args.local_rank != -1:
            paddle.distributed.barrier()
        self.optimizer.set_state_dict(broadcast_dp_optimizer(state))
        path = distributed_file(str(folder / SCHEDULER_NAME))
        self.lr_scheduler.set_state_dict(restore.check_schedule(path, read_pickle(path)))
        if self.do_grad_scaling and distributed_isfile(str(folder / SCALER_NAME)):
            path = distributed_file(str(folder / SCALER_NAME))
            self.scaler.load_state_dict(restore.check_scaler(path, read_pickle(path)))

    def _trained(self) -> list:
        return [parameter for parameter in self.task.model.parameters() if not parameter.stop_gradient]

    def _load_rng_state(self, checkpoint):
        """The states of this process's generators; of several processes the first reads for all."""
        if checkpoint is None:
            return
        states, ranks = [None] * self.args.world_size, self.args.world_size
        path = Path(checkpoint) / ("rng_state.pth" if ranks == 1 else f"rng_state_{ranks}.pth")
        if self.args.process_index == 0 and path.is_file():
            found = read_pickle(path)
            found = [found] if ranks == 1 else found
            if not (isinstance(found, list) and len(found) == ranks):
                raise restore.damaged(path, f"does not hold the states of {ranks} processes")
            states = [check_rng_state(path, state) for state in found]
        if ranks > 1:
            paddle.distributed.broadcast_object_list(states, src=0)
        if (state := states[self.args.process_index]) is not None:
            restore_rng_state(path, state)


def moments_of(optimizer) -> dict:
    """{name: tensor} of an optimiser's states and of the float32 weights that it may keep."""
    masters, inner = master_weights(optimizer), optimizer
    while hasattr(inner, "_inner_opt"):
        inner = inner._inner_opt
    accumulators = getattr(inner, "_accumulators", {})
    return {t.name: t for by_name in accumulators.values() for t in by_name.values()} | masters


def atomic(save):
    """A function save(state, path, ...) made to give the file its name only when it is complete."""

    def save_atomically(state, path, *arguments):
        with atomic_path(path) as temporary:
            save(state, str(temporary), *arguments)

    return save_atomically
