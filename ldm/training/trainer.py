"""CascadeTrainer: PaddleNLP's Trainer around ModelC. It moves data and draws; the loss is ModelC's."""

from dataclasses import replace

import paddle
from paddlenlp.trainer import Trainer

from ldm.sizes import TRAINING_FACTOR
from ldm.training.arguments import ModelArguments
from ldm.training.callbacks import GradientNorm
from ldm.training.checkpoint import save_unet_config
from ldm.training.draws import draw, dropout_seed
from ldm.training.ema import Average, AverageUpdate
from ldm.training.optimizer import adamw
from ldm.training.sampler import RunSampler


class CascadeTrainer(Trainer):
    """Fine-tunes a ModelC. Every draw of a step depends on (seed, step, sample) only, dropout on (seed, step, rank)."""

    def __init__(self, model, conditioning: ModelArguments, callbacks=(), **options):
        self.conditioning = conditioning
        self.gradient_norm, self.average, self._micro_step = GradientNorm(), None, 0
        super().__init__(model=model, callbacks=[self.gradient_norm, *callbacks], **options)
        if self.args.ema_decay > 0:
            self.average = Average(model.unet, self.args.ema_decay)
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
        batch, draws = self._draw(inputs, seed, step, micro_step)
        paddle.seed(dropout_seed(seed, step, micro_step, self.args.dataset_rank))
        loss = model(**batch, **vars(draws))
        return (loss, {"loss": loss}) if return_outputs else loss

    def _draw(self, inputs, seed: int, step: int, micro_step: int):
        """A collated batch -> (the model's data arguments, its random ones)."""
        batch = {name: value for name, value in inputs.items() if name != "index"}
        grid = [-(-side // TRAINING_FACTOR) for side in batch["images"].shape[2:]]
        latent_shape, c = (self.model.unet.c_in, *grid), self.conditioning
        indices = inputs["index"].tolist()
        return batch, draw(seed, step, micro_step, indices, latent_shape, c.caption_dropout, c.image_conditioning)

    @paddle.no_grad()
    def fixed_loss(self, samples: int = 8) -> float:
        """Loss on the first samples of the dataset with fixed noise, at times spread evenly over (0, 1), no dropout."""
        count = min(samples, len(self.train_dataset))
        times = (paddle.arange(count, dtype="float32") + 0.5) / count
        total = 0.0
        with self.model.evaluating(), self.autocast_smart_context_manager():
            for index in range(count):
                inputs = {k: paddle.to_tensor(v) for k, v in self.data_collator([self.train_dataset[index]]).items()}
                batch, draws = self._draw(inputs, 0, 0, 0)
                total += float(self.model(**batch, **vars(replace(draws, t=times[index : index + 1]))))
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
            save_unet_config(folder, self.model.unet_config)
            if self.average is not None:
                self.average.save(folder, self.model.unet_config)

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
                [parameter for parameter in self.model.parameters() if not parameter.stop_gradient],
                lr_scheduler or self.lr_scheduler,
                args.weight_decay,
                (args.adam_beta1, args.adam_beta2),
                args.adam_epsilon,
                args.max_grad_norm,
                multi_precision=args.fp16_opt_level == "O2" and (args.fp16 or args.bf16),
            )
        return self.optimizer
