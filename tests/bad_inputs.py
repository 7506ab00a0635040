"""What cases of wrong inputs are made of: a folder to be spoilt, and the register of the cases in bad_data.py,
bad_flags.py, bad_weights.py and bad_checkpoints.py. Each is a function: what is wrong is its docstring, what it returns are
flags. Used by test_bad_inputs.py, which runs the trainer of the prior with them; not a test itself."""

import json
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

CASES = {}  # name -> (section, function, pieces of the message: what is named, and the remedy)


def case(section: str, *pieces: str):
    def register(function):
        CASES[function.__name__] = (section, function, pieces)
        return function

    return register


class Inputs:
    """A folder with a dataset `data` (3 captioned pictures) and a release `weights` of links, both to be spoilt."""

    def __init__(self, folder: Path, release: Path, pictures: Path):
        self.folder, self.data, self.weights, self.output = (
            folder, folder / "data", folder / "weights", folder / "output",
        )  # fmt: skip
        shutil.copytree(pictures, self.data)
        self.weights.mkdir()
        for path in release.iterdir():
            (self.weights / path.name).symlink_to(path)

    @property
    def flags(self) -> list[str]:
        text = f"--do_train --weights_path {self.weights} --dataset_path {self.data} --output_dir {self.output} "
        return (text + "--resolution 64 --max_steps 2 --logging_steps 1").split()

    def own(self, name: str) -> Path:
        """A file or folder of the release, copied, so that it can be changed."""
        path = self.weights / name
        original = path.resolve()
        path.unlink()
        (shutil.copytree if original.is_dir() else shutil.copyfile)(original, path)
        return path

    def rewrite(self, name: str, change, metadata=None) -> Path:
        """A safetensors file of the release with its tensors {key: array} changed in place by `change`."""
        from ldm.weights.files import TensorFile

        path = self.own(name)
        with TensorFile(path) as file:
            kept = dict(file.metadata)
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, kept if metadata is None else metadata)
        return path

    def checkpoint(self, files: dict) -> Path:
        """A complete checkpoint-1 in the output folder, of small files {name: text}."""
        folder = self.output / "checkpoint-1"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / "complete.json").write_text(json.dumps({"bytes": {name: len(text) for name, text in files.items()}}))
        return folder
