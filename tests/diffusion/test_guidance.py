"""Guidance: its formula, what one image may know of another, and when the second pass is saved."""

import numpy as np
import paddle
import pytest
from helpers import array, distance

from ldm.diffusion.guidance import Guidance, guide
from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.sampling import SamplingSettings, sample
from ldm.diffusion.schedule import CosineSchedule, undiffuse

SHAPE = (2, 3, 4)


@pytest.mark.parametrize("whole_batch", [False, True])
@pytest.mark.parametrize("rho", [0.0, 0.7, 1.0])
def test_formula(whole_batch, rho):
    conditional, unconditional = paddle.randn([3, *SHAPE]), paddle.randn([3, *SHAPE]) * 2
    c, u = array(conditional), array(unconditional)
    guided = u + 4.0 * (c - u)
    axes = None if whole_batch else (1, 2, 3)
    rescaled = guided * c.std(axis=axes, keepdims=True, ddof=1) / guided.std(axis=axes, keepdims=True, ddof=1)
    assert (
        distance(guide(conditional, unconditional, 4.0, rho, whole_batch), rho * rescaled + (1 - rho) * guided) < 1e-5
    )


def test_an_image_does_not_depend_on_its_batch_mates():
    conditional, unconditional = paddle.randn([2, *SHAPE]), paddle.randn([2, *SHAPE])
    mates = paddle.concat([conditional[:1], conditional[1:] * 10])
    for whole_batch in (False, True):
        both = [guide(x, unconditional, 4.0, 0.7, whole_batch)[:1] for x in (conditional, mates)]
        assert (distance(*both) == 0) is not whole_batch


def test_a_scale_of_one_changes_nothing():
    conditional, unconditional = paddle.randn([2, *SHAPE]), paddle.randn([2, *SHAPE])
    assert distance(guide(conditional, unconditional, 1.0, 0.7, False), conditional) < 1e-6


@pytest.mark.parametrize("rho", [-0.1, 1.1, float("nan")])
def test_impossible_rho(rho):
    with pytest.raises(ValueError, match="rho"):
        Guidance(rho=rho)


def test_scale_over_time():
    assert Guidance(4.0).at(0.3) == 4.0 and Guidance(1.0).at(0.3) is None
    blend = Guidance((5.0, 1.5))
    assert blend.at(1.0) == 5.0 and blend.at(0.0) == 1.5 and blend.at(0.5) == pytest.approx(3.25)
    window = Guidance(4.0, t_stop=0.2, t_start=0.8)
    assert [window.at(t) for t in (0.1, 0.2, 0.5, 0.8, 0.9)] == [None, 4.0, 4.0, 4.0, None]


@pytest.mark.parametrize(
    "guidance, batches",
    [
        (Guidance(4.0), [6] * 4),
        (Guidance(0.0), [6] * 4),  # the unconditional prediction, which is not the conditional one
        (Guidance(1.0), [3] * 4),
        (Guidance(4.0, t_stop=0.4, t_start=0.9), [3, 6, 6, 3]),
    ],
)
def test_the_unconditional_pass_runs_only_where_it_counts(guidance, batches):
    calls = []

    def model(x, r, c):
        assert x.shape[0] == r.shape[0] == c.shape[0]
        calls.append(x.shape[0])
        return x * 0.5

    conditions = {"c": paddle.ones([3, 1])}
    list(
        sample(
            model,
            conditions,
            {"c": paddle.zeros([3, 1])},
            SHAPE,
            NoiseStream([0, 1, 2], "t"),
            SamplingSettings(4, guidance=guidance),
        )
    )
    assert calls == batches


def test_conditional_and_unconditional_are_not_swapped():
    def model(x, r, c):
        return paddle.zeros_like(x) + c.reshape([-1, 1, 1, 1])

    settings = SamplingSettings(1, guidance=Guidance(3.0, rho=0.0))
    conditions, unconditional = {"c": paddle.full([2, 1], 1.0)}, {"c": paddle.full([2, 1], 0.5)}
    (step,) = sample(model, conditions, unconditional, SHAPE, NoiseStream([0, 1], "t"), settings)
    # epsilon = 0.5 + 3 * (1 - 0.5) = 2
    start = NoiseStream([0, 1], "t").normal(SHAPE)
    log_snr = CosineSchedule().log_snr(paddle.ones([2]))
    np.testing.assert_array_equal(step.x0.numpy(), undiffuse(start, paddle.full_like(start, 2.0), log_snr).numpy())


def test_conditions_must_match():
    with pytest.raises(ValueError, match="'a'.*'b'"):
        list(
            sample(
                lambda x, r, **c: x,
                {"a": paddle.ones([1])},
                {"b": paddle.ones([1])},
                SHAPE,
                NoiseStream([0], "t"),
                SamplingSettings(1),
            )
        )
