"""The optimisers: weight decay on every parameter as in the release, gradients clipped by their global norm."""

import paddle

OPTIMIZERS = ("adamw", "adamw_mini")  # PaddleNLP's names for --optim


def adamw(
    parameters,
    learning_rate,
    weight_decay=0.01,
    betas=(0.9, 0.999),
    eps=1e-8,
    max_grad_norm=1.0,
    name="adamw",
    **options,
):
    """AdamW over `parameters`; max_grad_norm 0 switches clipping off.

    Unlike PaddleNLP's default, biases and norms decay too: the release's `torch.optim.AdamW` makes no exception.
    name "adamw_mini": PaddleNLP's AdamWMini, which keeps one second moment per tensor (arXiv:2406.16793 keeps one per
    block of it) and so 4 bytes per parameter instead of 8. It moves by the first moment as it was before the step: its
    first step does nothing but decay.
    """
    clip = paddle.nn.ClipGradByGlobalNorm(max_grad_norm) if max_grad_norm > 0 else None
    cls = paddle.optimizer.AdamW
    if name == "adamw_mini":
        from paddlenlp.utils.optimizer import AdamWMini as cls
    return cls(
        learning_rate=learning_rate, beta1=betas[0], beta2=betas[1], epsilon=eps, parameters=parameters,
        weight_decay=weight_decay, grad_clip=clip, **options,
    )  # fmt: skip


def master_weights(optimizer) -> dict:
    """{parameter name: float32 weight} where an optimiser keeps its own under mixed precision, else {}."""
    while hasattr(optimizer, "_inner_opt"):  # how fleet and the loss scaling wrap an optimiser
        optimizer = optimizer._inner_opt
    return getattr(optimizer, "_master_weights", {})


def gradient_shard(parameters, optimizer):
    """The parameters whose summed gradients this rank has, and the group of ranks that have the others or None.

    All of them, unless --sharding stage1 has spread them over the ranks.
    """
    sharded = getattr(optimizer, "_inner_opt", None)
    owners = getattr(sharded, "_param2rank", None)
    if owners is None:
        return list(parameters), None
    own = [p for p in parameters if owners.get(p.name) == sharded._sharding_rank]
    return own, sharded._hcg.get_sharding_parallel_group()


def global_norm(parameters, scale: float = 1.0) -> float:
    """Euclidean norm of all gradients divided by `scale` (the loss scale under float16)."""
    squares = [(p.grad.astype("float32") ** 2).sum() for p in parameters if p.grad is not None]
    return float(paddle.add_n(squares).sqrt()) / scale if squares else 0.0
