"""CascadeTrainer: PaddleNLP's Trainer around a Task. It moves data and draws; the loss is the model's."""

import paddle

from ldm.stage import evaluating
from ldm.training.batch_norms import batch_norms
from ldm.training.batches.draws import dropout_seed, streams
from ldm.training.batches.loader import TimedDataLoader
from ldm.training.batches.order import RunSampler, fixed_batches
from ldm.training.checkpoints.save_on_signal import SaveOnSignal
from ldm.training.checkpoints.trainer import CheckpointingTrainer
from ldm.training.ema import Average, AverageUpdate
from ldm.training.noise_levels import Weighting
from ldm.training.non_finite.batch import BatchRecord
from ldm.training.non_finite.guard import Guard
from ldm.training.optimizer import adamw
from ldm.training.task import Task
from ldm.training.watching.callbacks import GradientNorm, ImageLogger
from ldm.training.watching.console import use_readable_lines
from ldm.training.watching.noise_level_losses import NoiseLevelLosses
from ldm.training.watching.pace import Pace


class CascadeTrainer(CheckpointingTrainer):
    """Trains a Task. Every draw of a step depends on (seed, step, sample) only, dropout on (seed, step, rank)."""

    def __init__(self, task: Task, callbacks=(), **options):
        self.task = task
        self.gradient_norm, self.average, self._micro_step = GradientNorm(), None, 0
        super().__init__(
            model=task.model,
            train_dataset=task.dataset,
            data_collator=task.collate,
            callbacks=[self.gradient_norm, *callbacks],
            **options,
        )
        self._check_supported()
        args = self.args
        self.weighting = Weighting(task.stage, args.loss_weight, args.min_snr_gamma, args.p2_shift, args.noise_shift)
        self.guard = Guard(self)
        self.add_callback(self.guard)
        norms = batch_norms(task.model)
        for norm in norms:
            norm._momentum = self.args.batch_norm_momentum
        self.frozen_norms = norms if self.args.freeze_batch_norm else []
        if not norms and (self.args.freeze_batch_norm or self.args.batch_norm_momentum != 0.9):
            flag = "freeze_batch_norm" if self.args.freeze_batch_norm else "batch_norm_momentum"
            raise ValueError(f"--{flag}: nothing that is trained has a BatchNorm. Leave the flag out.")
        if self.args.ema_decay > 0:
            self.average = Average(task.model, self.args.ema_decay)
            self.add_callback(AverageUpdate(self.average))
        self.noise_level_losses = NoiseLevelLosses()
        self.pace, self.image_logger = Pace(self._periods()), ImageLogger(self)
        use_readable_lines(self)
        if args.save_on_signal:
            self.add_callback(SaveOnSignal())
        self.add_callback(self.image_logger)  # after the average is updated, and where there is a line to print on

    def _check_supported(self):
        """ValueError for flags that this model or this way of training cannot honour."""
        args, stage = self.args, self.task.stage
        layers = self.task.model.sublayers(include_self=True)  # PaddleNLP sets this attribute wherever a layer has it
        if args.recompute and not any(hasattr(layer, "enable_recompute") for layer in layers):
            raise ValueError("--recompute True: nothing that is trained here can recompute its blocks. Leave it out.")
        if self._keeps_master_weights() and stage is None:
            raise ValueError("--fp16_opt_level O2 is for Stage B and Stage C. Use --fp16_opt_level O1 here.")
        if args.ema_decay > 0 and args.sharding and self._keeps_master_weights():
            raise ValueError(
                "--ema_decay with --sharding and --fp16_opt_level O2: each rank has only a part of the float32 weights "
                "that are averaged. Use --fp16_opt_level O1, or leave out --sharding or --ema_decay."
            )

    def _decorate_exclude_layers(self, model):
        """What stays float32 under O2: a semantic encoder that is trained along, which always computes in it."""
        encoder = self.task.encoder
        return super()._decorate_exclude_layers(model) + ([] if encoder is None else [encoder])

    def _keeps_master_weights(self) -> bool:
        return self.args.fp16_opt_level == "O2" and (self.args.fp16 or self.args.bf16)

    def _periods(self) -> list[int]:
        """Every how many steps something happens that takes time beside the training."""
        args = self.args
        saves = [args.save_steps] if args.save_strategy.value == "steps" else []
        return [*saves, args.logging_steps, args.image_logging_steps, *(p.every for p in self.task.pictures)]

    def train(self, resume_from_checkpoint=None, **options):
        """PaddleNLP's, after the pictures of the weights that the run starts from are made."""
        self.noise_level_losses = NoiseLevelLosses()  # whatever was tried before is no part of the run
        self.guard.resumed_from = resume_from_checkpoint
        self.image_logger.keep_base()
        return super().train(resume_from_checkpoint, **options)

    # Data -------------------------------------------------------------------------------------------------------

    def get_train_dataloader(self):
        args = self.args
        args.max_steps = self.steps_of_run()  # the sampler's length is the run's: it must be known
        return TimedDataLoader(
            self.pace,
            self.train_dataset,
            batch_sampler=self._get_train_sampler(),
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
        )

    def steps_of_run(self) -> int:
        """Optimiser steps, of --max_steps or of the epochs."""
        args = self.args
        if args.max_steps > 0:
            return args.max_steps
        mix, samples = self.train_dataset.mix, len(self.train_dataset)
        if mix is not None:  # an epoch is one of the set's own samples
            samples = mix.own / (1 - mix.share)
        return max(1, int(samples * args.num_train_epochs) // self._samples_per_step())

    def _samples_per_step(self) -> int:
        args = self.args
        return args.per_device_train_batch_size * args.gradient_accumulation_steps * args.dataset_world_size

    def _get_train_sampler(self):
        args = self.args
        return RunSampler(
            self.train_dataset,
            args.per_device_train_batch_size,
            args.max_steps * args.gradient_accumulation_steps,
            args.seed,
            args.dataset_world_size,
            args.dataset_rank,
        )

    # Step -------------------------------------------------------------------------------------------------------

    def training_step(self, model, inputs, step_control=0):
        self._micro_step = step_control
        return self.guard.checked(super().training_step(model, inputs, step_control))

    def compute_loss(self, model, inputs, return_outputs=False):
        step, micro_step, seed = self.state.global_step, self._micro_step, self.args.seed
        drawn = self.drawn(inputs, seed, step, micro_step)
        for norm in self.frozen_norms:  # the Trainer puts the whole model into training mode before every step
            norm.training = False
        rank, indices = self.args.dataset_rank, inputs["index"].tolist()
        masks = dropout_seed(seed, step, micro_step, rank)
        self.guard.took(BatchRecord(step, micro_step, rank, indices, masks, drawn))
        paddle.seed(masks)
        loss = self.task.loss(drawn, model)
        self.weighting.collect()
        self.noise_level_losses.collect(self.task.objective)
        return (loss, {"loss": loss}) if return_outputs else loss

    def drawn(self, inputs, seed: int, step: int, micro_step: int, times=None) -> dict:
        """A collated batch with what is drawn for it in a step."""
        return self.task.drawn(inputs, streams(seed, step, micro_step, inputs["index"].tolist()), times)

    def fixed_losses(self) -> dict:
        """`fixed_loss` of the weights, and of their average where there is one, as log entries.

        With --preservation_path also that of the weights on that set: where it rises, what it stands for is forgotten.
        """
        losses, mix = {"fixed_loss": self.fixed_loss()}, self.train_dataset.mix
        if mix is not None:
            losses["fixed_loss_preserved"] = self.fixed_loss(first=mix.own)
        if self.average is not None:
            with self.average.averaged():
                losses["fixed_loss_ema"] = self.fixed_loss()
        return losses

    @paddle.no_grad()
    def fixed_loss(self, samples: int = 8, first: int = 0) -> float:
        """Loss on the samples of the dataset from `first` on with fixed noise, at times spread evenly over (0, 1), no dropout.

        Where there are noise levels it is weighed by P2 whatever --loss_weight says, so that runs can be compared.
        """
        batch_size = self.args.per_device_train_batch_size
        mix, end = self.train_dataset.mix, len(self.train_dataset)
        count = min(max(samples, batch_size), (mix.own if mix is not None and first < mix.own else end) - first)
        times, total = (paddle.arange(count, dtype="float32") + 0.5) / count, 0.0
        with evaluating(self.task.model), self.weighting.comparable(), self.autocast_smart_context_manager():
            for chosen in fixed_batches(self.train_dataset, count, batch_size, first):
                items = self.data_collator([self.train_dataset[index] for index in chosen])
                inputs = {name: paddle.to_tensor(value) for name, value in items.items()}
                drawn = self.drawn(inputs, 0, 0, 0, times[paddle.to_tensor(chosen) - first])
                total += float(self.task.loss(drawn)) * len(chosen)
        return total / count

    def _maybe_log_save_evaluate(self, tr_loss, model, epoch, ignore_keys_for_eval, **options):
        self.pace.step_done(self.state.global_step)
        super()._maybe_log_save_evaluate(tr_loss, model, epoch, ignore_keys_for_eval, **options)

    def log(self, logs, **options):
        """The Trainer's log with the gradient norm, the losses by noise level and the pace; kept in trainer_state.json.

        PaddleNLP empties the history at each entry. Its `progress_or_epoch` is the share of the run that is done; its
        speed, which counts pictures and checkpoints as training, is replaced by ours.
        """
        history, entry = self.state.log_history, self.gradient_norm.added_to(logs)
        if "loss" in logs:
            entry = {name: value for name, value in entry.items() if not name.startswith("interval_")}
            entry |= self.noise_level_losses.take() | self.pace.entries(self._samples_per_step(), self.state.max_steps)
        super().log(entry, **options)
        self.state.log_history = [*history, {**entry, "global_step": self.state.global_step}]

    # Optimiser --------------------------------------------------------------------------------------------------

    def create_optimizer(self, lr_scheduler=None):
        """The optimiser of --optim, decaying every parameter; PaddleNLP would spare biases and norms."""
        if self.optimizer is None:
            args = self.args
            self.optimizer = adamw(
                self._trained(),
                lr_scheduler or self.lr_scheduler,
                args.weight_decay,
                (args.adam_beta1, args.adam_beta2),
                args.adam_epsilon,
                args.max_grad_norm,
                name=args.optim.value,
                multi_precision=self._keeps_master_weights(),
            )
        return self.optimizer
