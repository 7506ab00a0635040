"""SiLU with a gradient where Paddle's own has none, and dropout that costs nothing where nothing is dropped."""

import numpy as np
import paddle

from ldm.networks.layers.activations import Dropout, SiLU, dropout


def test_silu_and_its_gradient_are_finite_and_right_everywhere():
    x = np.array([-1e4, -200.0, -89.0, -30.0, -1.0, 0.0, 2.0, 89.0, 1e4], np.float32)
    given = paddle.to_tensor(x, stop_gradient=False)
    output = SiLU()(given)
    output.sum().backward()
    wide = x.astype(np.float64)
    with np.errstate(over="ignore"):
        gate = 1 / (1 + np.exp(-wide))
    np.testing.assert_allclose(output.numpy(), wide * gate, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(given.grad.numpy(), gate * (1 + wide * (1 - gate)), rtol=1e-6, atol=1e-30)


def test_where_nothing_is_dropped_nothing_is_copied():
    x, layer = paddle.ones([4, 1000]), Dropout(0.25)
    assert dropout(x, 0.0, training=True) is x and layer.eval()(x) is x
    mean = float((layer.train()(x) == 0).astype("float32").mean())
    assert 0.2 < mean < 0.3
