"""Fixtures of tests/training/tasks."""

import pytest
from small_release import ARCHITECTURE, images

from ldm.demo.scenes.dataset import SceneSettings, write_scenes
from ldm.demo.untrained import write_untrained_release


@pytest.fixture
def place(tmp_path):
    """Ten scenes and an untrained release for them."""
    write_scenes(tmp_path / "scenes", SceneSettings(10, 128), 1, iter)
    captions = [path.read_text() for path in (tmp_path / "scenes").rglob("*.txt")]
    write_untrained_release(tmp_path / "release", ARCHITECTURE, captions, images())
    return tmp_path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, SceneSettings(8, 64), 1, iter)
    for path in folder.rglob("*.txt"):
        path.write_text(f"a [fox] {path.read_text()}")
    return folder
