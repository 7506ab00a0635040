"""Every learning rate schedule with warm-up against its formula; the optimisers' decay, memory and exact resume."""

import math
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ldm.training.flags.arguments import parse_into
from ldm.training.optimizer import OPTIMIZERS, adamw
from ldm.training.tasks import prior
from ldm.training.trainer import CascadeTrainer

STEPS, WARMUP, PEAK = 20, 4, 1e-3
BASE = f"--output_dir out --do_train --max_steps {STEPS} --learning_rate {PEAK}"
AFTER_WARMUP = {
    "linear": lambda share: 1 - share,
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
    "polynomial": lambda share: (1 - share) ** 2 * (1 - 0.01) + 0.01,
    "constant_with_warmup": lambda share: 1,
}
FLAGS = {"polynomial": "--power 2.0 --lr_end 1e-5"}


def rates(flags: str) -> list:
    """Learning rates of the run's steps as the Trainer's own scheduler gives them."""
    *_, args = parse_into(prior.GROUPS, f"{BASE} {flags}".split())
    schedule = CascadeTrainer.create_scheduler(SimpleNamespace(args=args, lr_scheduler=None), STEPS)
    values = []
    for _ in range(STEPS):
        values.append(schedule.get_lr())
        schedule.step()
    return values


@pytest.mark.parametrize("name", AFTER_WARMUP)
@pytest.mark.parametrize("warmup", [f"--warmup_steps {WARMUP}", f"--warmup_steps 0 --warmup_ratio {WARMUP / STEPS}"])
def test_schedules_follow_their_formula(name, warmup):
    expected = [PEAK * step / WARMUP for step in range(WARMUP)]
    expected += [PEAK * AFTER_WARMUP[name](step / (STEPS - WARMUP)) for step in range(STEPS - WARMUP)]
    np.testing.assert_allclose(rates(f"--lr_scheduler_type {name} {warmup} {FLAGS.get(name, '')}"), expected, rtol=1e-6)


def test_the_constant_schedule_has_no_warmup():
    assert rates("--lr_scheduler_type constant --warmup_steps 0") == [PEAK] * STEPS
    with pytest.raises(ValueError, match="constant_with_warmup"):
        rates("--lr_scheduler_type constant")


def test_every_schedule_of_the_trainer_is_covered():
    from paddlenlp.trainer.trainer_utils import SchedulerType

    assert {member.value for member in SchedulerType} == {*AFTER_WARMUP, "constant"}
    with pytest.raises(ValueError, match="constant_with_warmup"):
        rates("--lr_scheduler_type exponential")


# Optimisers ----------------------------------------------------------------------------------------------------------


def problem(name, steps, state=None, start=None):
    """Least squares by an optimiser: the weights after `steps`, the optimiser, and the last loss."""
    rng = np.random.default_rng(0)
    inputs, targets = (paddle.to_tensor(rng.normal(size=(128, width)).astype("float32")) for width in (64, 32))
    with paddle.utils.unique_name.guard():  # an optimiser's state goes by the parameters' names, counted per process
        layer = paddle.nn.Linear(64, 32)
        layer.set_state_dict(start or {"weight": paddle.zeros([64, 32]), "bias": paddle.zeros([32])})
        optimizer = adamw(layer.parameters(), 1e-2, name=name)
        if state is not None:
            optimizer.set_state_dict(state)
        for _ in range(steps):
            loss = ((layer(inputs) - targets) ** 2).mean()
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
    return {key: value.numpy() for key, value in layer.state_dict().items()}, optimizer, float(loss)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_learn_and_resume_exactly(name, tmp_path):
    weights, _, loss = problem(name, 30)
    half, optimizer, first = problem(name, 15)
    assert loss < first < problem(name, 1)[2]
    paddle.save(optimizer.state_dict(), str(tmp_path / "state"))
    resumed, _, _ = problem(name, 15, paddle.load(str(tmp_path / "state")), half)
    for key in weights:
        assert np.array_equal(resumed[key], weights[key]), key


@pytest.mark.parametrize("name, expected", [("adamw", 8), ("adamw_mini", 4)])
def test_bytes_of_state_per_parameter(name, expected):
    _, optimizer, _ = problem(name, 1)
    state = [value for value in optimizer.state_dict().values() if isinstance(value, paddle.Tensor)]
    parameters = 64 * 32 + 32
    total = sum(value.numel().item() * value.element_size() for value in state)
    # and per tensor two powers of beta (and one moment), 4 bytes each
    assert expected * parameters <= total <= expected * parameters + 2 * 3 * 4


@pytest.mark.parametrize("name", ["adafactor", "adamw_custom", "adamw_16bit_moment", "sgd"])
def test_other_optimisers_are_refused(name):
    with pytest.raises(ValueError, match="--optim must be one of adamw, adamw_mini"):
        parse_into(prior.GROUPS, f"{BASE} --optim {name}".split())
