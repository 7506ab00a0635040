"""What a run prints: one readable line per log entry, and a bar that promises nothing it does not know."""

from datetime import datetime, timedelta

from paddlenlp.trainer.trainer_callback import PrinterCallback, ProgressCallback
from paddlenlp.utils.log import logger
from tqdm.auto import tqdm

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"  # tqdm's own estimate knows no pictures or resumed runs
SHOWN = (  # key, how it reads
    ("loss", "loss {:.4g}"),
    ("grad_norm", "grad norm {:.3g}"),
    ("learning_rate", "learning rate {:.3g}"),
    ("samples_per_second", "{:.3g} samples/s"),
    ("data_wait_share", "data wait {:.0%}"),
    ("peak_memory_gib", "{:.1f} GiB"),
)
UNSAID = (  # beginnings of what PaddleNLP logs that is wrong here or tells nobody anything
    "Trainer.model is not a `PretrainedModel`",  # as it never is
    "set state-dict :",  # an empty list of missing keys
    "  Will skip the first ",  # and recommends --ignore_data_skip, which is refused; nothing is read that is skipped
)
HIDDEN = ("global_step", "progress_or_epoch")


def line(logs: dict, step: int, max_steps: int) -> str:
    """A log entry for people; what else it holds is in VisualDL and trainer_state.json."""
    start = f"step {step}/{max_steps}: "
    if "loss" not in logs:
        return start + ", ".join(f"{key} {value:.6g}" for key, value in logs.items() if key not in HIDDEN)
    parts = [text.format(logs[key]) for key, text in SHOWN if key in logs]
    if "eta_seconds" in logs:
        parts.append(time_left(logs["eta_seconds"], datetime.now()))
    return start + ", ".join(parts)


def time_left(seconds: float, now: datetime) -> str:
    """'3 h 20 min left (until 17:40)'; with the date if that is another day."""
    minutes = round(seconds / 60)
    words = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    if seconds < 90:
        words = f"{seconds:.0f} s"
    end = now + timedelta(seconds=seconds)
    return f"{words} left (until {end:{'%H:%M' if end.date() == now.date() else '%d %b %H:%M'}})"


class LogLine(PrinterCallback):
    """PaddleNLP's printer with readable lines; used with --disable_tqdm."""

    def on_log(self, args, state, control, logs=None, metrics_dumper=None, **kwargs):
        if state.is_local_process_zero:
            logger.info(line(logs, state.global_step, state.max_steps))
            if metrics_dumper is not None:
                metrics_dumper.append(logs)


class ProgressLine(ProgressCallback):
    """PaddleNLP's progress bar with readable lines, and with our own estimate of the time that is left."""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_local_process_zero:
            self.training_bar = tqdm(total=state.max_steps, desc="Training", bar_format=BAR, initial=state.global_step)
        self.current_step = state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_local_process_zero and self.training_bar is not None:
            logger.info(line(logs, state.global_step, state.max_steps))
            if "eta_seconds" in logs:
                self.training_bar.set_postfix_str(time_left(logs["eta_seconds"], datetime.now()), refresh=False)


def prepare_log():
    """PaddleNLP's logger without its list of all options, which options.json has, and without UNSAID."""
    logger.set_level("INFO")
    logger.logger.addFilter(lambda record: not record.getMessage().startswith(UNSAID))


def use_readable_lines(trainer):
    """Replace PaddleNLP's way of printing."""
    for replaced in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(replaced)
    trainer.add_callback(LogLine if trainer.args.disable_tqdm else ProgressLine)
