"""What our workers start with: Paddle prepared, and networks of released sizes filled by rule, one tensor at a time."""

from worker import DEVICE, DTYPE, Side

OTHER_SIZES = {
    "100M": dict(c_cond=704, c_hidden=(704, 704), nhead=(11, 11), blocks=((2, 6), (6, 2)))  # a prior to be trained
}


def start_paddle():
    """Prepare the process, import Paddle and choose the device; who this is, a Side."""
    from ldm.common.runtime import prepare

    prepare()
    import paddle

    paddle.set_device(DEVICE)
    name = f"ours, paddle {paddle.__version__}"
    if DEVICE == "cpu":
        return Side(name)
    name += f", {paddle.device.cuda.get_device_name()}"
    return Side(name, paddle.device.synchronize, paddle.device.cuda.max_memory_allocated)


def filled_network(kind: str, version=None, dtype=DTYPE):
    """`kind` "stage_c", "stage_b" or "stage_a", in evaluation mode; after `start_paddle()`."""
    from ldm.networks.variants import variant_config
    from ldm.weights.loading import fill
    from ldm.weights.plan import release_key_of
    from ldm.weights.release import build_unfilled
    from ldm.weights.rules import RULES
    from ldm.weights.synthetic import rule_tensor

    config = {} if version is None else OTHER_SIZES.get(version) or variant_config(kind, version)
    network = build_unfilled(kind, config)
    for key, parameter in network.state_dict().items():
        release_key, rule = release_key_of(RULES[kind], key)
        value = rule_tensor(release_key, rule.layout.shape_to_release(parameter.shape))
        fill(parameter, rule.layout.to_paddle(value), dtype)
    network.eval()
    return network
