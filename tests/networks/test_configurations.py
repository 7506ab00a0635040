"""Configurations that cannot be built are refused, by the value that is wrong, before a weight exists."""

import paddle
import pytest
from tiny_networks import TINY_B, TINY_C

from ldm.networks.stage_a import StageA
from ldm.networks.stage_b import StageB
from ldm.networks.stage_c import StageC

WRONG = {  # options, what the message must say
    "heads do not divide": (dict(nhead=[2, 3]), "level 1.*nhead 3.*c_hidden 16"),
    "no heads for attention": (dict(nhead=[-1, 2]), "level 0.*nhead -1"),
    "heads for too few levels": (dict(nhead=[2]), "nhead has 1 entries for 2 levels"),
    "unknown letter": (dict(level_config=["CTA", "CXA"]), "level 1.*'CXA'.*X"),
    "empty layout": (dict(level_config=["", "CTA"]), "level 0.*level_config ''"),
    "layouts for too few levels": (dict(level_config=["CTA"]), "level_config has 1 entries for 2"),
    "no levels": (dict(c_hidden=[], switch_level=[]), "c_hidden|switch_level"),
    "no width": (dict(c_hidden=[16, 0]), "c_hidden must be positive, got 0"),
    "no blocks": (dict(blocks=[[1, 0], [1, 1]]), "level 1.*blocks"),
    "blocks of one way": (dict(blocks=[[1, 1]]), r"blocks must be \[down, up\]"),
    "blocks for too few levels": (dict(blocks=[[1, 1], [1]]), r"blocks\[1\] has 1 entries"),
    "no runs": (dict(block_repeat=[[1, 1], [0, 1]]), "level 1.*block_repeat"),
    "all dropped": (dict(dropout=[0.1, 1.0]), "level 1.*dropout.*1.0"),
    "dropout for too few levels": (dict(dropout=[0.1]), "dropout has 1 entries"),
    "self-attention for too many levels": (dict(self_attn=[True] * 3), "self_attn has 3 entries"),
    "even kernel": (dict(kernel_size=4), "kernel_size.*got 4"),
    "no patches": (dict(patch_size=0), "patch_size.*got 0"),
    "narrow timestep": (dict(c_r=2), "c_r.*got 2"),
    "condition twice": (dict(t_conds=["sca", "sca"]), "t_conds.*sca"),
}


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a parameter was created before the configuration was checked")

    monkeypatch.setattr(paddle.nn.Layer, "create_parameter", refuse)


@pytest.mark.parametrize("options, message", WRONG.values(), ids=WRONG)
def test_stage_c_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        StageC(**{**TINY_C, **options})


@pytest.mark.parametrize("switches", [[], [False, False], [True, False, True]])
def test_switches_must_be_one_per_joint(switches):
    with pytest.raises(ValueError, match="switch_level.*1, got"):
        StageC(**{**TINY_C, "switch_level": switches})


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(nhead=[-1, -1, 3, 2]), "level 2.*nhead 3.*16"),
        (dict(block_repeat=[[1, 1, 1], [1, 1, 1, 1]]), r"block_repeat\[0\] has 3 entries for 4"),
        (dict(kernel_size=2), "kernel_size.*got 2"),
    ],
)
def test_stage_b_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        StageB(**{**TINY_B, **options})


@pytest.mark.parametrize("options", [dict(levels=0), dict(levels=3, c_hidden=6)])
def test_stage_a_refuses(options):
    with pytest.raises(ValueError, match="c_hidden.*levels"):
        StageA(**options)
