"""Fixtures of tests/compiled."""

import pytest


@pytest.fixture
def said():
    """What is said about compiling."""
    return []
