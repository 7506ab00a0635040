"""Fixtures of tests/adapters."""

import pytest
from checkpoints import unfilled, write_official


@pytest.fixture
def network():
    return unfilled("stage_c")


@pytest.fixture
def prior(tmp_path):
    return write_official(tmp_path / "prior.safetensors", "stage_c")
