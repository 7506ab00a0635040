"""Whether tensors are finite: one question, asked of losses, gradients, layers, weights, latents and pixels alike."""

import paddle


@paddle.no_grad()
def finite(value) -> bool:
    """Whether every number of a tensor, or of a list or tuple of them, is neither NaN nor infinity; of anything else, True.

    A sum is finite as soon as its elements are, unless it overflows: only then each of them is looked at.
    """
    if isinstance(value, (list, tuple)):
        return all(map(finite, value))
    if not isinstance(value, paddle.Tensor) or not value.is_floating_point():
        return True
    return bool(paddle.isfinite(value.sum(dtype="float32"))) or bool(paddle.isfinite(value).all())
