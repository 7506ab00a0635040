"""Small networks with inputs that fit them, filled so that no weight is zero."""

import paddle

from ldm.networks.stage_b import StageB
from ldm.networks.stage_c import StageC

TINY_C = dict(
    c_in=4, c_out=4, c_r=8, c_cond=16, c_hidden=[16, 16], nhead=[2, 2], blocks=[[1, 1], [1, 1]], c_clip_text=12,
    c_clip_text_pooled=10, c_clip_img=6, dropout=0.0,
)  # fmt: skip
TINY_B = dict(
    c_r=8, c_cond=16, c_hidden=[8, 8, 16, 16], nhead=[-1, -1, 2, 2], blocks=[[1, 1, 1, 1], [1, 1, 1, 1]],
    block_repeat=[[1, 1, 1, 1], [1, 1, 1, 1]], c_clip=12, c_effnet=6, dropout=0.0,
)  # fmt: skip


def filled(network):
    """Random weights everywhere: the release's initial zeros would hide what is not connected."""
    paddle.seed(0)
    for parameter in network.parameters():
        parameter.set_value(paddle.randn(parameter.shape) * 0.2)
    network.eval()
    return network


def stage_c(**options):
    return filled(StageC(**{**TINY_C, **options}))


def stage_b(**options):
    return filled(StageB(**{**TINY_B, **options}))


def inputs_c(network, batch=2, size=(6, 4), images=1, text=5):
    widths = [
        m.weight.shape[0] for m in (network.clip_txt_mapper, network.clip_txt_pooled_mapper, network.clip_img_mapper)
    ]
    return dict(
        x=paddle.randn([batch, network.c_in, *size]),
        r=paddle.linspace(0.2, 0.9, batch),
        clip_text=paddle.randn([batch, text, widths[0]]),
        clip_text_pooled=paddle.randn([batch, 1, widths[1]]),
        clip_img=paddle.randn([batch, images, widths[2]]),
    )


def inputs_b(network, batch=2, size=(16, 24)):
    return dict(
        x=paddle.randn([batch, network.c_in, *size]),
        r=paddle.linspace(0.2, 0.9, batch),
        effnet=paddle.randn([batch, 6, 3, 5]),
        clip=paddle.randn([batch, 1, 12]),
    )


def unreached(network) -> list:
    """Names of parameters without a gradient, or with one that is zero throughout."""
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return [name for name, g in gradients.items() if g is None or float(g.abs().max()) == 0]
