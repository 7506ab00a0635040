"""Statistics of BatchNorms taken from data at once, instead of drifting after it while training."""

import paddle


def batch_norms(network) -> list:
    """Every BatchNorm of a network."""
    return [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]


@paddle.no_grad()
def settle_batch_norms(network, batch, forward=None):
    """Give every BatchNorm the statistics of `batch`, layer after layer; what `forward` (the network) makes of it.

    Training can then normalise by them from the first step. By each batch's own it would do badly here: a batch of flat
    pictures has few colours, its statistics are a matter of chance, and what follows cannot know a colour exactly.
    """
    norms = batch_norms(network)
    momenta = [norm._momentum for norm in norms]
    for norm in norms:
        norm._momentum = 0.0
    network.train()
    result = (forward or network)(batch)
    for norm, momentum in zip(norms, momenta):
        norm._momentum = momentum
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Sequential):
            _move_scales(list(layer))
    network.eval()
    return result


def _move_scales(layers: list):
    """Divide a convolution's weights by the standard deviation that the BatchNorm behind it divides by: same function.

    Some weights are drawn so small that a norm multiplies by 100. Where norms are frozen, an optimiser's steps, which
    know no scale, would be multiplied as well, layer after layer.
    """
    for conv, norm in zip(layers, layers[1:]):
        if isinstance(conv, paddle.nn.Conv2D) and conv.bias is None and isinstance(norm, paddle.nn.BatchNorm2D):
            deviation = (norm._variance + norm._epsilon).sqrt()
            conv.weight.set_value(conv.weight / deviation.reshape([-1, 1, 1, 1]))
            norm._mean.set_value(norm._mean / deviation)
            norm._variance.set_value(paddle.ones_like(norm._variance) - norm._epsilon)


def variance(latents, keepdim=False):
    """Of each channel of (B, C, H, W), unbiased. `Tensor.var`, whose bits it has, divides integers and warns that it did."""
    squares = ((latents - latents.mean([0, 2, 3], keepdim=True)) ** 2).sum([0, 2, 3], keepdim=keepdim)
    return squares / paddle.full([], latents.size / latents.shape[1] - 1, squares.dtype)


@paddle.no_grad()
def standardise_latents(encoder, images):
    """Make an encoder's latents of `images` (N, 3, S, S) in [0, 1] have mean 0 and standard deviation 1 per channel.

    Diffusion takes that for granted, and training with frozen norms loses it. Only the last norm's statistics change;
    what was trained on the old latents must be trained again. Returns the old (means, deviations), (16,) each.
    """
    encoder.eval()
    latents = encoder.encode(images)
    mean, deviation = latents.mean([0, 2, 3]), variance(latents).sqrt()
    norm = encoder.mapper[1]
    scale = (norm._variance + norm._epsilon).sqrt()
    norm._mean.set_value(norm._mean + mean * scale)
    norm._variance.set_value((scale * deviation) ** 2 - norm._epsilon)
    return mean, deviation
