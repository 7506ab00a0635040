"""fp16 O1 and O2 reach PaddleNLP's Trainer, checked where no GPU is: scaler, autocast level, master weights."""

import paddle
import pytest

from ldm.demo.photos import write_photos
from ldm.training.flags import arguments
from ldm.training.run import build_trainer
from ldm.training.tasks import prior


@pytest.fixture
def make_trainer(rule_release, tmp_path, monkeypatch):
    """A trainer for an AMP level, built as if a GPU were there; what PaddleNLP asks of paddle.amp is recorded."""
    write_photos(tmp_path / "photos", longest=96)
    decorated = []

    def make(level: str):
        flags = (
            f"--do_train --weights_path {rule_release} --dataset_path {tmp_path / 'photos'} --output_dir {tmp_path / 'out'} "
            f"--max_steps 2 --resolution 64 --fp16 True --fp16_opt_level {level}"
        )
        with monkeypatch.context() as patch:
            patch.setattr(arguments.paddle, "get_device", lambda: "gpu:0")
            parsed = arguments.parse_into(prior.GROUPS, flags.split())
        original = paddle.amp.decorate
        monkeypatch.setattr(
            paddle.amp, "decorate", lambda *args, **options: decorated.append(options) or original(*args, **options)
        )
        return build_trainer(prior.build_task, *parsed), decorated

    return make


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_the_level_reaches_scaler_autocast_and_optimizer(make_trainer, monkeypatch, level):
    from paddlenlp.trainer import trainer as paddlenlp_trainer

    trainer, decorated = make_trainer(level)
    assert trainer.do_grad_scaling and trainer.amp_dtype == "float16"
    asked = {}
    monkeypatch.setattr(paddlenlp_trainer, "autocast", lambda enable, **options: asked.update(options, enable=enable))
    trainer.autocast_smart_context_manager()
    assert asked["enable"] is True and asked["level"] == level and asked["dtype"] == "float16"
    trainer.create_optimizer_and_scheduler(2)
    assert trainer.optimizer._multi_precision == (level == "O2")
    trainer._wrap_model(trainer.model_wrapped)
    assert decorated and all(options["level"] == level for options in decorated)
    assert all(options["models"] is trainer.model for options in decorated)


def test_frozen_networks_are_out_of_mixed_precisions_reach(make_trainer):
    trainer, _ = make_trainer("O2")
    layers = trainer.model.sublayers(include_self=True)
    frozen = trainer.model.frozen
    for outside in (frozen.effnet, frozen.text.model, frozen.image.model):
        assert not any(layer is outside for layer in layers)
