"""Conversion is streamed: memory grows by a few tensors, not by the file."""

import json

from helpers import run_python

from ldm.demo.rule_release import write_rule_network

CODE = """
import json, sys
from ldm.common.memory import peak_memory
from ldm.weights.release import build_unfilled
from ldm.weights.convert import convert_file

source, target, config, warm_source = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
small = json.loads(sys.argv[5])
convert_file(warm_source, target, build_unfilled("stage_c", small), "stage_c")  # loads every library
network = build_unfilled("stage_c", config)
before = peak_memory()
convert_file(source, target, network, "stage_c")
print((peak_memory() - before) / 2**20)
"""


def test_a_file_is_never_in_memory_as_a_whole(tmp_path):
    """Real data, not a sparse file: pages of a mapped file would count as this process's memory once they are read."""
    small = dict(c_cond=32, c_hidden=[32, 32], nhead=[2, 2], blocks=[[1, 1], [1, 1]])
    config = dict(c_cond=768, c_hidden=[768, 768], nhead=[12, 12], blocks=[[1, 5], [5, 1]])
    paths = []
    for name, options in (("small", small), ("large", config)):
        paths.append(tmp_path / f"{name}.safetensors")
        write_rule_network(paths[-1], "stage_c", options)
    mebibytes = paths[1].stat().st_size / 2**20
    assert mebibytes > 400
    largest = max(4 * 768 * 2 * 768, 1280 * 4 * 768) * 4 / 2**20  # the largest tensor, 18 MiB
    grown = float(
        run_python(CODE, paths[1], tmp_path / "target.safetensors", json.dumps(config), paths[0], json.dumps(small))
    )
    print(f"{mebibytes:.0f} MiB converted, {grown:.0f} MiB more memory, largest tensor {largest:.0f} MiB")
    assert grown < 8 * largest < mebibytes / 2
