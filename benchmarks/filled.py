"""A network of a released size filled by rule, one tensor at a time."""


def filled_network(kind: str, version: str):
    """`kind` "stage_c" or "stage_b" in evaluation mode; `ldm.runtime.prepare()` was called before."""
    from ldm.networks.variants import variant_config
    from ldm.release import build_unfilled
    from ldm.weights.convert import fill
    from ldm.weights.plan import release_key_of
    from ldm.weights.rule import rule_tensor
    from ldm.weights.rules import RULES

    network = build_unfilled(kind, variant_config(kind, version))
    for key, parameter in network.state_dict().items():
        release_key, rule = release_key_of(RULES[kind], key)
        value = rule_tensor(release_key, rule.layout.shape_to_release(parameter.shape))
        fill(parameter, rule.layout.to_paddle(value), "float32")
    network.eval()
    return network
