"""What a weights file says of itself: held against the constructors, before anything is built of it."""

import inspect
import json
import random
import resource
import time

import pytest
from checkpoints import CONFIGS, edit, write_header, write_official

from ldm.demo.rule_release import NETWORKS
from ldm.demo.untrained import read_architecture
from ldm.networks.variants import VARIANTS
from ldm.weights.arguments import KINDS, check_arguments
from ldm.weights.release import SINGLE_SIZE, build_unfilled, load_network, network_class

CLASSES = {kind: network_class(kind) for kind in (*VARIANTS, *SINGLE_SIZE)}
TELLING = {
    "stage_c": {"clip_txt_mapper.weight": (64, 64)},
    "stage_b": {"effnet_mapper.0.weight": (64, 16, 1, 1)},
    "stage_a": {"vquantizer.codebook.weight": (16, 4)},
    "effnet": {"backbone.0.0.weight": (24, 3, 3, 3)},
    "previewer": {"blocks.0.weight": (16, 16, 1, 1)},
}
ONE_STAGE = dict(fused=True, expand=1, stride=16, c_in=8, c_out=8, layers=1)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_table_has_every_argument_and_its_default(kind):
    parameters = inspect.signature(CLASSES[kind]).parameters
    assert parameters.keys() == KINDS[kind].keys()
    defaults = {name: parameter.default for name, parameter in parameters.items() if name != "stages"}
    check_arguments(CLASSES[kind], kind, defaults, "the defaults")


@pytest.mark.parametrize(
    "kind, config", [(kind, config) for (kind, _), config in NETWORKS.items()] + list(CONFIGS.items())
)
def test_what_is_built_here_is_allowed(kind, config):
    check_arguments(CLASSES[kind], kind, json.loads(json.dumps(config)), "ours")
    for table in VARIANTS.get(kind, (None, {}))[1].values():
        check_arguments(CLASSES[kind], kind, table, "the release's")


WRONG = [
    ("stage_c", {"c_hiden": [4]}, "'c_hiden' is no argument of a stage_c"),
    ("stage_c", {"self": 1}, "'self' is no argument"),
    ("stage_c", {"c_in": True}, "c_in is True, expected an integer from 1 to 65536"),
    ("stage_c", {"c_in": "16"}, "c_in is '16'"),
    ("stage_c", {"c_in": 16.0}, "c_in is 16.0"),
    ("stage_c", {"c_in": None}, "c_in is None"),
    ("stage_c", {"c_in": 0}, "c_in is 0"),
    ("stage_c", {"c_in": -1}, "c_in is -1"),
    ("stage_c", {"c_cond": 10**9}, "c_cond is 1000000000"),
    ("stage_c", {"c_cond": 10**4000}, "c_cond is 1000"),
    ("stage_c", {"c_hidden": [10**9, 16]}, "c_hidden is [1000000000, 16]"),
    ("stage_c", {"c_hidden": []}, "c_hidden is []"),
    ("stage_c", {"c_hidden": [16] * 17}, "c_hidden is [16, 16"),
    ("stage_c", {"c_hidden": [[16], [16]]}, "c_hidden is [[16], [16]]"),
    ("stage_c", {"c_hidden": 16}, "c_hidden is 16"),
    ("stage_c", {"c_hidden": {"0": 16}}, "c_hidden is {'0': 16}"),
    ("stage_c", {"blocks": [[10**6, 1], [1, 1]]}, "blocks is [[1000000, 1], [1, 1]]"),
    ("stage_c", {"blocks": [1, 1]}, "blocks is [1, 1]"),
    ("stage_c", {"blocks": [[1, 1]]}, "blocks is [[1, 1]]"),
    ("stage_c", {"blocks": None}, "blocks is None"),
    ("stage_c", {"blocks": [[1000, 1000], [1000, 1000]]}, "describes 12000 layers, and at most 10000"),
    ("stage_c", {"blocks": [[2, 1], [1, 1]]}, "layers, and the file has 1 tensors"),
    ("stage_c", {}, "describes 192 layers, and the file has 1 tensors"),
    ("stage_c", {"block_repeat": [[10**6, 1], [1, 1]]}, "block_repeat is [[1000000, 1], [1, 1]]"),
    ("stage_c", {"level_config": ["CTA" * 10, "C"]}, "level_config is ['CTACTA"),
    ("stage_c", {"level_config": ["XYZ", "C"]}, "level_config is ['XYZ', 'C']"),
    ("stage_c", {"level_config": [1, 2]}, "level_config is [1, 2]"),
    ("stage_c", {"nhead": "many"}, "nhead is 'many'"),
    ("stage_c", {"dropout": float("nan")}, "dropout is nan"),
    ("stage_c", {"dropout": [0.1, "x"]}, "dropout is [0.1, 'x']"),
    ("stage_c", {"self_attn": 1}, "self_attn is 1, expected true or false"),
    ("stage_c", {"t_conds": "sca"}, "t_conds is 'sca'"),
    ("stage_c", {"t_conds": ["a.b"]}, "t_conds is ['a.b']"),
    ("stage_c", {"t_conds": [f"c{i}" for i in range(1000)]}, "t_conds is ['c0'"),
    ("stage_c", {"switch_level": [1]}, "switch_level is [1]"),
    ("stage_c", {"prediction_type": "x"}, "expected one of epsilon, v_prediction"),
    ("stage_c", {"patch_size": 10**6}, "patch_size is 1000000"),
    ("stage_b", {"sees_preview": "no"}, "sees_preview is 'no'"),
    ("stage_b", {"c_pixels": [3]}, "c_pixels is [3]"),
    ("stage_a", {"bottleneck_blocks": 10**6}, "bottleneck_blocks is 1000000"),
    ("stage_a", {"bottleneck_blocks": 900}, "describes 900 layers, and the file has 1 tensors"),
    ("stage_a", {"levels": 64}, "levels is 64"),
    ("stage_a", {"codebook_size": 10**12}, "codebook_size is"),
    ("stage_a", {"scale_factor": 0}, "scale_factor is 0"),
    ("stage_a", {"scale_factor": float("inf")}, "scale_factor is inf"),
    ("effnet", {"stages": [{}]}, "stages is [{}]"),
    ("effnet", {"stages": [{**ONE_STAGE, "layers": 10**6}]}, "stages is"),
    ("effnet", {"stages": [{**ONE_STAGE, "layers": 900}]}, "describes 900 layers"),
    ("effnet", {"stages": [{**ONE_STAGE, "more": 1}]}, "stages is"),
    ("effnet", {"stages": [1]}, "stages is [1]"),
    ("effnet", {"stages": []}, "stages is []"),
    ("effnet", {"channels": "all"}, "channels is 'all'"),
    ("previewer", {"c_hidden": 3}, "c_hidden is 3"),
]


@pytest.mark.parametrize("kind, config, message", WRONG)
def test_wrong_arguments_are_named_with_the_file(tmp_path, kind, config, message):
    notes = {"config": json.dumps(config)}
    path = write_header(tmp_path / "x.safetensors", TELLING[kind], notes)
    with pytest.raises(ValueError) as error:
        load_network(path, kind)
    text = str(error.value)
    assert text.startswith(f"{path}: the metadata's 'config'") and message in text and len(text) < 1500


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"nhead": [3, 2]}, "nhead 3 does not divide c_hidden 16"),
        ({"nhead": [2]}, "nhead has 1 entries for 2 levels"),
        ({"blocks": [[1, 2, 3], [2, 1]]}, "has 3 entries for 2 levels"),
        ({"switch_level": []}, "switch_level needs one entry"),
        ({"kernel_size": 2}, "kernel_size must be odd"),
        ({"t_conds": ["sca", "sca"]}, "names a condition twice"),
        ({"dropout": 1}, "dropout must be in [0, 1)"),
    ],
)
def test_what_only_shows_together_is_named_with_the_file(tmp_path, changes, message):
    path = write_header(tmp_path / "x.safetensors", {f"{i}.weight": (1,) for i in range(40)} | TELLING["stage_c"])
    notes = {"config": json.dumps({**CONFIGS["stage_c"], **changes})}
    write_header(path, {f"{i}.weight": (1,) for i in range(40)} | TELLING["stage_c"], notes)
    with pytest.raises(ValueError) as error:
        load_network(path, "stage_c")
    assert str(error.value).startswith(f"{path}: the metadata's 'config': ") and message in str(error.value)


def test_the_widest_networks_take_neither_memory_nor_time_before_they_are_compared(tmp_path):
    """What the bounds allow is built without weights and then does not fit the file."""
    wide = {
        "c_hidden": [65536] * 2,
        "nhead": [1024] * 2,
        "c_cond": 65536,
        "c_clip_seq": 256,
        "blocks": [[3, 3], [3, 3]],
    }
    shapes = {f"{i}.weight": (1,) for i in range(40)} | TELLING["stage_c"]
    path = write_header(tmp_path / "x.safetensors", shapes, {"config": json.dumps(wide)})
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match="does not fit this network"):
        load_network(path, "stage_c")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000 and time.process_time() - start < 30  # KiB; seconds of this process alone


def values(generator, depth=0):
    """Anything that JSON can say."""
    makers = [
        lambda: generator.choice([0, -1, 1, 2, 7, 16, 10**6, 10**9, 10**30, -(10**12)]),
        lambda: generator.choice([0.0, 0.5, -1e300, 1e308, float("nan"), float("inf")]),
        lambda: generator.choice([None, True, False]),
        lambda: generator.choice(["", "CTA", "sca", "x" * 300, "\n\x1b[31m", "é", "__class__"]),
        lambda: [values(generator, depth + 1) for _ in range(generator.choice((0, 1, 2, 3, 40)))],
        lambda: {generator.choice(["a", "c_in", "layers", ""]): values(generator, depth + 1) for _ in range(2)},
    ]
    return generator.choice(makers[: 4 if depth > 3 else 6])()


@pytest.mark.parametrize("kind", CLASSES)
def test_random_arguments_are_built_or_refused_in_one_line(kind):
    """And what is built is built of arguments that the table has, quickly."""
    generator, refused = random.Random(kind), 0
    for _ in range(400):
        config = dict(CONFIGS[kind])
        for _ in range(generator.choice((1, 1, 2))):
            name = generator.choice([*KINDS[kind], *KINDS[kind], "", "self", "args", "\n"])
            config[name] = values(generator)
        try:
            build_unfilled(kind, config, "x.safetensors: the metadata's 'config'")
        except ValueError as error:
            refused += 1
            message = str(error)
            assert message.startswith("x.safetensors") and "\n" not in message and len(message) < 5000
    assert refused > 200


@pytest.mark.parametrize(
    "content, message",
    [("{", "is not JSON"), ("[]", "holds a list"), ('{"stage_a": {}}', "missing parts"), ("\xff", "is not UTF-8")],
)
def test_a_damaged_architecture_is_named(tmp_path, content, message):
    path = tmp_path / "architecture.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=f"architecture.json.*{message}"):
        read_architecture(path)


def test_an_architecture_is_held_against_the_constructors_too(tmp_path):
    parts = {part: {} for part in ("stage_a", "effnet", "previewer", "stage_b", "stage_c", "text_encoder")}
    parts |= {"image_encoder": {}, "tokenizer": {}, "stage_b": {"c_hidden": [10**9]}}
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(parts))
    with pytest.raises(ValueError, match=r"architecture.json: stage_b: c_hidden is \[1000000000\]"):
        read_architecture(path)
    path.write_text(json.dumps({**parts, "stage_b": {}, "tokenizer": 3}))
    with pytest.raises(ValueError, match="architecture.json: tokenizer is 3"):
        read_architecture(path)


def test_a_counter_may_be_an_integer(tmp_path):
    path = write_official(tmp_path / "previewer.safetensors", "previewer")
    edit(path, lambda tensors: None)  # its num_batches_tracked are int64
    load_network(path, "previewer")
