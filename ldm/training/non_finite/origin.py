"""Where in a network the first NaN or infinity appears: the forward pass once more, watched layer by layer."""

from dataclasses import dataclass
from typing import Optional

import paddle

from ldm.training.task import Task
from ldm.weights.finite import finite


@dataclass(frozen=True)
class Origin:
    """What a watched forward pass has shown. Names are attribute paths such as unet.down_blocks.0.3.channelwise.0."""

    loss: float
    argument: Optional[str]  # a bad argument of the model
    layer: Optional[str]  # the first layer with a bad result
    from_input: bool  # whether that layer had a non-finite input already
    parameter: Optional[str]  # a bad weight of that layer
    gradient: Optional[str]  # the layer with non-finite gradients nearest to the loss
    gradients_known: bool  # whether there were gradients to look at

    def __str__(self):
        if self.argument:
            return f"the first are in {self.argument}, an input of the model"
        if self.layer and self.parameter:
            return f"the first appear in {self.layer}, whose {self.parameter} is not finite itself"
        if self.layer:
            return f"the first {'reach' if self.from_input else 'appear in'} {self.layer}"
        if self.gradient:
            return f"the forward pass is finite, and the first bad gradient is that of {self.gradient}"
        return f"every layer's result {'and gradient ' if self.gradients_known else ''}is finite"


def find_origin(task: Task, drawn: dict, dropout_seed: int, backward: bool = False) -> Origin:
    """Compute the loss of a batch with its draws again, dropout included, and look at every layer's result and gradients.

    The gradients are those that the parameters have; backward: those of this pass, which are computed and kept there.
    """
    model, watched = task.model, Watch()
    handles = [
        layer.register_forward_post_hook(watched.hook(name or type(model).__name__))
        for name, layer in model.named_sublayers(include_self=True)
    ]
    paddle.seed(dropout_seed)
    try:
        with paddle.set_grad_enabled(backward):
            loss = task.loss(drawn)
    finally:
        for handle in handles:
            handle.remove()
    if backward:
        loss.backward()
    bad_arguments = [name for name, value in drawn.items() if not finite(value)]
    layers = dict(model.named_sublayers(include_self=True))
    gradients = [name for name in watched.order if name in layers and _bad(layers[name], "grad")]
    weights = _bad(layers[watched.first], None) if watched.first in layers else []
    return Origin(
        loss=float(loss),
        argument=bad_arguments[0] if bad_arguments else None,
        layer=watched.first,
        from_input=watched.from_input,
        parameter=weights[0] if weights else None,
        gradient=gradients[-1] if gradients else None,
        gradients_known=any(parameter.grad is not None for parameter in model.parameters()),
    )


class Watch:
    """The layers of a forward pass in the order in which they finish, and the first with a bad result."""

    def __init__(self):
        self.order, self.first, self.from_input = [], None, False

    def hook(self, name: str):
        def look(layer, inputs, output):
            self.order.append(name)
            if self.first is None and not finite(output):
                self.first, self.from_input = name, not finite(inputs)

        return look


def _bad(layer, attribute) -> list:
    """Names of a layer's own parameters that are not finite themselves, or whose `attribute` is not."""
    own = layer.named_parameters(include_sublayers=False)
    return [name for name, parameter in own if not finite(getattr(parameter, attribute) if attribute else parameter)]
