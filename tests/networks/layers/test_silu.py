"""SiLU: the function, and a gradient where Paddle's own has none."""

import numpy as np
import paddle

from ldm.networks.layers.silu import SiLU


def test_output_and_gradient_are_finite_and_right_everywhere():
    x = np.array([-1e4, -200.0, -89.0, -30.0, -1.0, 0.0, 2.0, 89.0, 1e4], np.float32)
    given = paddle.to_tensor(x, stop_gradient=False)
    output = SiLU()(given)
    output.sum().backward()
    wide = x.astype(np.float64)
    with np.errstate(over="ignore"):
        gate = 1 / (1 + np.exp(-wide))
    np.testing.assert_allclose(output.numpy(), wide * gate, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(given.grad.numpy(), gate * (1 + wide * (1 - gate)), rtol=1e-6, atol=1e-30)
