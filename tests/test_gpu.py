"""What only a GPU can show: half precision in generation and training. Skipped, saying so, where there is none."""

import numpy as np
import paddle
import pytest

GPU = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
pytestmark = pytest.mark.skipif(not GPU, reason="no GPU, or a CPU build of Paddle")


@pytest.fixture(autouse=True)
def on_gpu():
    before = paddle.get_device()
    paddle.set_device("gpu:0")
    yield
    paddle.set_device(before)


def latent(rule_release, dtype):
    from ldm.model_c import ModelC

    prior = ModelC(rule_release, dtype=dtype)
    assert prior.unet.clf[1].weight.place.is_gpu_place()
    return prior.sample(["a fox"], 256, 256, steps=4, progress=False).astype("float32").numpy()


@pytest.mark.parametrize("dtype, bound", [("float16", 3e-2), ("bfloat16", 2e-1)])
def test_half_precision_generation_stays_close(rule_release, dtype, bound):
    """Bounds: 4 steps at guidance 4 amplify roundings of 2^-11 (float16) and 2^-8 (bfloat16)."""
    if dtype == "bfloat16" and not paddle.amp.is_bfloat16_supported():
        pytest.skip("this GPU has no bfloat16")
    full, half = latent(rule_release, "float32"), latent(rule_release, dtype)
    assert np.isfinite(half).all()
    assert np.linalg.norm(full - half) / np.linalg.norm(full) < bound


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_half_precision_training_learns(rule_release, tmp_path, level):
    from ldm.demo.photos import write_photos
    from ldm.training.flags.arguments import parse_into
    from ldm.training.run import build_trainer
    from ldm.training.tasks import prior

    write_photos(tmp_path / "photos", longest=128)
    flags = (
        f"--do_train --weights_path {rule_release} --dataset_path {tmp_path / 'photos'} --output_dir {tmp_path / 'out'} "
        f"--max_steps 12 --resolution 64 --per_device_train_batch_size 4 --learning_rate 1e-3 --logging_steps 4 "
        f"--fp16 True --fp16_opt_level {level}"
    )
    trainer = build_trainer(prior.build_task, *parse_into(prior.GROUPS, flags.split()))
    before = trainer.fixed_loss()
    trainer.train()
    assert np.isfinite(trainer.fixed_loss()) and trainer.fixed_loss() < before
    stored = str(trainer.model.unet.clf[1].weight.dtype)
    assert stored.endswith("float16" if level == "O2" else "float32")
