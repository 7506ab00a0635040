"""A region that mixed precision may not touch, for the operations that overflow or lose digits in float16."""

import paddle


def float32_region():
    """Context in which autocast is off, so float32 inputs are computed in float32.

    Under autocast Paddle casts the inputs of products and convolutions down to float16, an explicit `astype("float32")`
    before them included; a cast alone protects nothing.
    """
    return paddle.amp.auto_cast(enable=False)
