"""CascadeTrainer: PaddleNLP's Trainer around a Task. It moves data and draws; the loss is the model's."""

import paddle
from paddlenlp.trainer import Trainer

from ldm.batch_norms import batch_norms
from ldm.stage import evaluating
from ldm.training.callbacks import GradientNorm
from ldm.training.checkpoint import save_networks
from ldm.training.draws import dropout_seed, streams
from ldm.training.ema import Average, AverageUpdate
from ldm.training.optimizer import adamw
from ldm.training.sampler import RunSampler
from ldm.training.task import Task


class CascadeTrainer(Trainer):
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
        norms = batch_norms(task.model)
        for norm in norms:
            norm._momentum = self.args.batch_norm_momentum
        self.frozen_norms = norms if self.args.freeze_batch_norm else []
        if self.args.freeze_batch_norm and not self.frozen_norms:
            raise ValueError("--freeze_batch_norm: nothing that is trained has a BatchNorm. Leave the flag out.")
        if self.args.ema_decay > 0:
            self.average = Average(task.model, self.args.ema_decay)
            self.add_callback(AverageUpdate(self.average))

    # Data -------------------------------------------------------------------------------------------------------

    def get_train_dataloader(self):
        args = self.args
        per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.dataset_world_size
        if args.max_steps <= 0:  # the sampler's length is the run's: it must be known
            args.max_steps = max(1, int(len(self.train_dataset) * args.num_train_epochs) // per_step)
        return super().get_train_dataloader()

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
        return super().training_step(model, inputs, step_control)

    def compute_loss(self, model, inputs, return_outputs=False):
        step, micro_step, seed = self.state.global_step, self._micro_step, self.args.seed
        arguments = self._arguments(inputs, seed, step, micro_step)
        for norm in self.frozen_norms:  # the Trainer puts the whole model into training mode before every step
            norm.training = False
        paddle.seed(dropout_seed(seed, step, micro_step, self.args.dataset_rank))
        loss = model(**arguments)
        return (loss, {"loss": loss}) if return_outputs else loss

    def _arguments(self, inputs, seed: int, step: int, micro_step: int, times=None) -> dict:
        """A collated batch -> the model's arguments, random ones included."""
        batch = {name: value for name, value in inputs.items() if name != "index"}
        indices = inputs["index"].tolist()
        return batch | self.task.draw(streams(seed, step, micro_step, indices), batch, times)

    @paddle.no_grad()
    def fixed_loss(self, samples: int = 8) -> float:
        """Loss on the first samples of the dataset with fixed noise, at times spread evenly over (0, 1), no dropout."""
        batch_size = self.args.per_device_train_batch_size
        count = min(max(samples, batch_size), len(self.train_dataset))
        times, total = (paddle.arange(count, dtype="float32") + 0.5) / count, 0.0
        with evaluating(self.task.model), self.autocast_smart_context_manager():
            for start in range(0, count, batch_size):
                chosen = range(start, min(start + batch_size, count))
                items = self.data_collator([self.train_dataset[index] for index in chosen])
                inputs = {name: paddle.to_tensor(value) for name, value in items.items()}
                arguments = self._arguments(inputs, 0, 0, 0, times[start : start + len(chosen)])
                total += float(self.task.model(**arguments)) * len(chosen)
        return total / count

    def log(self, logs, **options):
        """The Trainer's log with the gradient norm, for every reader; kept in trainer_state.json.

        PaddleNLP empties the history at each entry. Its `progress_or_epoch` is the share of the run that is done.
        """
        history, entry = self.state.log_history, self.gradient_norm.added_to(logs)
        super().log(entry, **options)
        self.state.log_history = [*history, {**entry, "global_step": self.state.global_step}]

    # Checkpoints ------------------------------------------------------------------------------------------------

    def _save(self, output_dir=None, state_dict=None, **options):
        super()._save(output_dir, state_dict, **options)
        if self.args.should_save:
            folder = output_dir or self.args.output_dir
            save_networks(folder, self.task.networks)
            if self.average is not None:
                self.average.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint=None):
        super()._load_from_checkpoint(resume_from_checkpoint)
        if resume_from_checkpoint is not None and self.average is not None:
            self.average.load(resume_from_checkpoint)

    # Optimiser --------------------------------------------------------------------------------------------------

    def create_optimizer(self, lr_scheduler=None):
        """The release's AdamW, decaying every parameter; PaddleNLP would spare biases and norms."""
        if self.optimizer is None:
            args = self.args
            self.optimizer = adamw(
                [parameter for parameter in self.task.model.parameters() if not parameter.stop_gradient],
                lr_scheduler or self.lr_scheduler,
                args.weight_decay,
                (args.adam_beta1, args.adam_beta2),
                args.adam_epsilon,
                args.max_grad_norm,
                multi_precision=args.fp16_opt_level == "O2" and (args.fp16 or args.bf16),
            )
        return self.optimizer
