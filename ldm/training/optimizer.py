"""AdamW as the release uses it: weight decay on every parameter, gradients clipped by their global norm."""

import paddle


def adamw(parameters, learning_rate, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8, max_grad_norm=1.0, **options):
    """`paddle.optimizer.AdamW` over `parameters`; max_grad_norm 0 switches clipping off.

    Unlike PaddleNLP's default, biases and norms decay too: the release's `torch.optim.AdamW` makes no exception.
    """
    clip = paddle.nn.ClipGradByGlobalNorm(max_grad_norm) if max_grad_norm > 0 else None
    return paddle.optimizer.AdamW(
        learning_rate=learning_rate, beta1=betas[0], beta2=betas[1], epsilon=eps, parameters=parameters,
        weight_decay=weight_decay, grad_clip=clip, **options,
    )  # fmt: skip


def global_norm(parameters, scale: float = 1.0) -> float:
    """Euclidean norm of all gradients divided by `scale` (the loss scale under float16)."""
    squares = [(p.grad.astype("float32") ** 2).sum() for p in parameters if p.grad is not None]
    return float(paddle.add_n(squares).sqrt()) / scale if squares else 0.0
