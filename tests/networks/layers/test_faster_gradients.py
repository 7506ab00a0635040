"""Layers by their faster ways and by their formulas alone: outputs and gradients against float64, and who computes."""

import contextlib

import numpy as np
import paddle
import pytest
from helpers import array, distance
from paddle.distributed.fleet.utils import recompute
from paddle.nn import functional as F

from ldm.networks.layers.activations import GELU
from ldm.networks.layers.convolution import DepthwiseConv2D
from ldm.networks.layers.fast.convolution import LARGEST
from ldm.networks.layers.fast.gradients import FAR
from ldm.networks.layers.fast.switch import plain_formulas
from ldm.networks.layers.fast.vectors import spread
from ldm.networks.layers.linear import linear, linear_map
from ldm.networks.layers.norms import GlobalResponseNorm, LayerNorm2D, scale_and_shift

FLOAT32 = 1e-6  # relative, of float32 against float64 over sums of a few hundred numbers


@pytest.fixture(params=["faster", "formulas"], autouse=True)
def ways(request):
    """Every test here runs twice: what a layer computes does not depend on the switch."""
    with contextlib.nullcontext() if request.param == "faster" else plain_formulas():
        yield


def trained(*shape):
    tensor = paddle.randn(shape)
    tensor.stop_gradient = False
    return tensor


def gradients(function, *tensors, seed=1):
    """Output of a function and copies of its tensors' gradients (None for frozen ones), the output's being fixed."""
    output = function(*tensors)
    paddle.seed(seed)
    if not output.stop_gradient:
        output.backward(paddle.randn(output.shape).astype(output.dtype))
    found = [None if tensor.grad is None else tensor.grad.numpy().copy() for tensor in tensors]
    for tensor in tensors:
        tensor.clear_gradient(set_to_zero=False)
    return output, found


def in_float64(function, *tensors):
    """`gradients` of the same in float64."""
    wide = [tensor.detach().astype("float64") for tensor in tensors]
    for copy, tensor in zip(wide, tensors):
        copy.stop_gradient = tensor.stop_gradient
    return gradients(function, *wide)


def check_gradients(found, wanted, frozen):
    """Equal where they are wanted, absent where `frozen` (indices) says so."""
    for index, (one, other) in enumerate(zip(found, wanted)):
        assert (one is None) == (other is None) == (index in frozen)
        assert one is None or distance(one, other) < FLOAT32


def plain_norm(x):
    return F.layer_norm(x, [x.shape[-1]], None, None, 1e-6)


@pytest.mark.parametrize("shape", [(2, 9, 16, 12), (3, 100, 12), (1, 1, 1, 12)])
@pytest.mark.parametrize("frozen", [(), (0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_linear_map_and_its_gradients(shape, frozen):
    tensors = [trained(*shape), trained(12, 20), trained(20)]
    for index in frozen:
        tensors[index].stop_gradient = True
    ours, found = gradients(linear_map, *tensors)
    expected, wanted = in_float64(F.linear, *tensors)
    assert ours.shape == expected.shape and distance(ours, array(expected)) < FLOAT32
    check_gradients(found, wanted, frozen)


def test_linear_map_without_gradients():
    x, weight, bias = trained(2, 5, 12), trained(12, 20), trained(20)
    with paddle.no_grad():
        assert distance(linear_map(x, weight, bias), array(F.linear(x, weight, bias))) < FLOAT32
        assert distance(linear_map(x, weight, None), array(F.linear(x, weight))) < FLOAT32
        assert distance(linear_map(x[0, :1], weight, bias), array(F.linear(x[0, :1], weight, bias))) < FLOAT32


def test_linear_map_of_nothing():
    assert linear_map(paddle.zeros([2, 0, 12]), trained(12, 20), trained(20)).shape == [2, 0, 20]


@pytest.mark.parametrize("mean, spread", [(0.0, 1.0), (3.0, 0.5), (0.0, 1e-3), (30.0, 1.0), (1.0, 0.0)])
def test_layer_norm_and_its_gradient(mean, spread):
    """Also where epsilon decides and where nothing varies; a mean of 30 spreads costs its digits in any float32 way."""
    x = paddle.randn([2, 5, 7, 24]) * spread + mean
    x.stop_gradient = False
    ours, (found,) = gradients(LayerNorm2D(24), x)
    expected, (wanted,) = in_float64(plain_norm, x)
    tolerance = FLOAT32 * max(1, mean)
    assert np.abs(array(ours) - array(expected)).max() < 10 * tolerance  # of numbers up to 4; 0 where nothing varies
    assert distance(found, wanted) < tolerance


def test_recomputed_layers_see_transposed_tensors_in_order():
    """Paddle's recompute forgets the strides of a view that a Python gradient keeps: 3.3.1 gave other gradients."""
    x = trained(2, 24, 5, 7)
    norm, layer, last = LayerNorm2D(24), linear(24, 8), linear(8, 8)

    def block(image):
        return last(layer(image.transpose([0, 2, 3, 1])) + layer(norm(image.transpose([0, 2, 3, 1]))))

    _, (plain,) = gradients(block, x)
    _, (again,) = gradients(lambda image: recompute(block, image, use_reentrant=False), x)
    assert np.array_equal(plain, again)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("sides", [(40,), (5, 8)])
def test_a_vector_over_an_image(rows, sides):
    vector, image = trained(rows, 1, 6), paddle.randn([3, *sides, 6])

    def product(given):
        return spread(given, image.astype(given.dtype)) * image.astype(given.dtype)

    def plain(given):
        return given.reshape([rows, *(1 for _ in sides), 6]) * image.astype(given.dtype)

    ours, (found,) = gradients(product, vector)
    expected, (wanted,) = in_float64(plain, vector)
    assert distance(ours, array(expected)) < FLOAT32 and distance(found, wanted) < FLOAT32


@pytest.mark.parametrize("size", [0.5, 3.0, 30.0, 1e4])
def test_gelu_and_its_gradient_near_and_far(size):
    x = paddle.randn([2, 50, 7]) * size
    x.stop_gradient = False
    ours, (found,) = gradients(GELU(), x)
    expected, (wanted,) = in_float64(F.gelu, x)
    assert distance(ours, array(expected)) < FLOAT32 and distance(found, wanted) < FLOAT32


def test_the_slope_of_gelu_does_not_change_beyond_far():
    x = paddle.to_tensor([-FAR, FAR], dtype="float64", stop_gradient=False)
    F.gelu(x).sum().backward()
    assert abs(x.grad[0].item()) < 1e-30 and np.float32(x.grad[1].item()) == 1


def test_gelu_with_recompute_and_where_it_stays_out():
    x = trained(2, 5, 7)
    plain, (wanted,) = gradients(GELU(), x)
    again, (found,) = gradients(lambda x: recompute(GELU(), x), x)
    assert np.array_equal(again.numpy(), plain.numpy()) and np.array_equal(found, wanted)
    with paddle.no_grad():
        assert np.array_equal(GELU()(x).numpy(), plain.numpy())
    assert GELU()(x.astype("float64")).dtype == paddle.float64


def depthwise(kernel, channels=3):
    layer = DepthwiseConv2D(channels, channels, kernel, padding=kernel // 2, groups=channels)
    layer.bias.set_value(paddle.randn([channels]))
    return layer


def plain_depthwise(x, weight, bias):
    """Paddle's own on channels-last tensors."""
    side = weight.shape[-1] // 2
    return F.conv2d(x.transpose([0, 3, 1, 2]), weight, bias, padding=side, groups=len(bias)).transpose([0, 2, 3, 1])


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (3, 1, 4, 3), (1, 2, 1, 3), (2, 6, 6, 3)])
@pytest.mark.parametrize("frozen", [(), (0,), (1, 2)])
def test_depthwise_convolution_and_its_gradients(kernel, shape, frozen):
    layer, x = depthwise(kernel), trained(*shape)
    tensors = [x, layer.weight, layer.bias]
    for index in frozen:
        tensors[index].stop_gradient = True
    ours, found = gradients(lambda x, *_: layer(x), *tensors)
    expected, wanted = in_float64(plain_depthwise, *tensors)
    assert distance(ours, array(expected)) < FLOAT32
    check_gradients(found, wanted, frozen)


def test_depthwise_convolution_with_recompute_and_without_gradients():
    layer, x = depthwise(3), trained(2, 6, 6, 3)
    plain, wanted = gradients(lambda x, *_: layer(x), x, layer.weight, layer.bias)
    again, found = gradients(lambda x, *_: recompute(layer, x), x, layer.weight, layer.bias)
    assert np.array_equal(again.numpy(), plain.numpy())
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted))
    with paddle.no_grad():
        assert np.array_equal(layer(x).numpy(), plain.numpy())


def test_large_tensors_are_left_to_paddle():
    layer, x = depthwise(3, channels=2), paddle.randn([1, 3, LARGEST // 4, 2])
    with paddle.no_grad():
        large = layer(x)
        assert np.array_equal(large.numpy(), plain_depthwise(x, layer.weight, layer.bias).numpy())


@pytest.mark.parametrize("rows", [(3, 3), (3, 1), (1, 3)])
@pytest.mark.parametrize("frozen", [(), (0,), (1,), (2,), (1, 2)])
@pytest.mark.parametrize("sides", [(40,), (5, 8)])
def test_scale_and_shift_and_its_gradients(rows, frozen, sides):
    tensors = [trained(3, *sides, 6), *(trained(count, 1, 6) for count in rows)]
    for index in frozen:
        tensors[index].stop_gradient = True

    def plain(x, scale, shift):
        ones = [1] * (len(sides) - 1)
        return x * scale.reshape([rows[0], *ones, 1, 6]) + shift.reshape([rows[1], *ones, 1, 6])

    ours, found = gradients(scale_and_shift, *tensors)
    expected, wanted = in_float64(plain, *tensors)
    assert distance(ours, array(expected)) < FLOAT32
    check_gradients(found, wanted, frozen)
    with paddle.no_grad():
        assert np.array_equal(scale_and_shift(*tensors), ours)


@pytest.mark.parametrize("frozen", [(), (0,), (1,), (1, 2)])
@pytest.mark.parametrize("sides", [(40,), (5, 8)])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e4])
def test_response_norm_and_its_gradients(sides, frozen, size):
    """One channel is 0 everywhere: its root would have an infinite gradient."""
    norm = GlobalResponseNorm(6)
    tensors = [paddle.randn([3, *sides, 6]) * size * paddle.to_tensor([1.0, 2, 0, 1, 0.1, 1]), norm.gamma, norm.beta]
    for index, tensor in enumerate(tensors):
        if index:
            tensor.set_value(paddle.randn(tensor.shape))
        tensor.stop_gradient = index in frozen

    def plain(x, gamma, beta):
        images = list(range(1, x.ndim - 1))
        response = (x**2).sum(axis=images, keepdim=True).clip(min=1e-30).sqrt()
        gamma, beta = (vector.reshape([1] * (x.ndim - 1) + [6]) for vector in (gamma, beta))
        return gamma * (x * (response / (response.mean(axis=-1, keepdim=True) + 1e-6))) + beta + x

    ours, found = gradients(lambda x, *_: norm(x), *tensors)
    expected, wanted = in_float64(plain, *tensors)
    assert distance(ours, array(expected)) < FLOAT32
    check_gradients(found, wanted, frozen)
    with paddle.no_grad():
        assert distance(norm(tensors[0]), array(ours)) < FLOAT32
