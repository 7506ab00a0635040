"""Small networks to compile, and ways to damage what is kept of them. No test itself."""

import json

from tiny_networks import stage_c


def small():
    """A prior of one level, quick to compile."""
    return stage_c(
        c_hidden=[16], nhead=[2], blocks=[[1], [1]], block_repeat=None, level_config=["CTA"], switch_level=[]
    )


def split(inputs):
    """(x, r) and the conditions."""
    return (inputs["x"], inputs["r"]), {key: value for key, value in inputs.items() if key not in ("x", "r")}


def rewrite(path, **changes):
    """A JSON file with other values; None takes one out."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def entries(folder):
    return sorted(path for path in folder.iterdir()) if folder.exists() else []
