"""Headers that others could write: one ValueError that names the file, before memory is taken for what they claim."""

import json
import os
import random

import numpy as np
import pytest
from checkpoints import edit, unfilled, write_official

from ldm.weights.convert import convert_file
from ldm.weights.files import TensorFile
from ldm.weights.header import BYTES, LARGEST, MOST_TENSORS
from ldm.weights.loading import load_weights
from ldm.weights.plan import WeightsMismatch


def write(path, header, data=b"", length=None):
    """A file with `header`, bytes or what becomes JSON."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)
    return path


def tensor(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


WRONG = {
    "shorter than its length": (b"", b"", 5),
    "length beyond the file": (b"{}", b"", 1000),
    "length beyond what is read": (b"{}", b"", LARGEST + 1),
    "largest length": (b"{}", b"", 2**64 - 1),
    "no object": (b"[1, 2]",),
    "no JSON": (b"{'a': 1}",),
    "no UTF-8": (b'{"\xff": 1}',),
    "UTF-16": ('{"a": 1}'.encode("utf-16"),),
    "nested": (b'{"a":' + b"[" * 200_000,),
    "a number of 5000 digits": (b'{"a": ' + b"9" * 5000 + b"}",),
    "key twice": (b'{"a": %s, "a": %s}' % ((json.dumps(tensor([1], 0, 4)).encode(),) * 2), b"1234"),
    "metadata twice": (b'{"__metadata__": {"config": "{}", "config": "{ }"}}',),
    "metadata of numbers": ({"__metadata__": {"a": 1}},),
    "metadata that is a list": ({"__metadata__": ["a"]},),
    "metadata that is null": ({"__metadata__": None},),
    "metadata in metadata": ({"__metadata__": {"a": {"b": "c"}}},),
    "overlap": ({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
    "a hole": ({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, bytes(12)),
    "the same bytes": ({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, bytes(4)),
    "beyond the end": ({"a": tensor([2], 0, 8)}, bytes(4)),
    "bytes left over": ({"a": tensor([1], 0, 4)}, bytes(8)),
    "begins late": ({"a": tensor([1], 4, 8)}, bytes(8)),
    "negative offset": ({"a": tensor([1], -4, 0)}, bytes(4)),
    "end before start": ({"a": tensor([1], 4, 0)}, bytes(4)),
    "offsets of floats": ({"a": tensor([1], 0, 4.0)}, bytes(4)),
    "offsets of booleans": ({"a": tensor([1], False, 4)}, bytes(4)),
    "three offsets": ({"a": {**tensor([1], 0, 4), "data_offsets": [0, 4, 8]}}, bytes(4)),
    "negative side": ({"a": tensor([-1], 0, 4)}, bytes(4)),
    "negative sides": ({"a": tensor([-1, -1], 0, 4)}, bytes(4)),
    "product beyond 64 bits": ({"a": tensor([2**33, 2**33], 0, 4)}, bytes(4)),
    "product beyond all": ({"a": tensor([2**62] * 8, 0, 4)}, bytes(4)),
    "no numbers, and enormous sides": ({"a": tensor([0, 2**62, 2**62], 0, 0)}, b""),
    "a side of a float": ({"a": tensor([1.0], 0, 4)}, bytes(4)),
    "a side that is true": ({"a": tensor([True], 0, 4)}, bytes(4)),
    "shape is no list": ({"a": tensor("11", 0, 4)}, bytes(4)),
    "nine axes": ({"a": tensor([1] * 9, 0, 4)}, bytes(4)),
    "fewer bytes than the shape": ({"a": tensor([3], 0, 8)}, bytes(8)),
    "dtype is a list": ({"a": tensor([1], 0, 4, ["F32"])}, bytes(4)),
    "dtype of a kilobyte": ({"a": tensor([1], 0, 4, "F" * 1000)}, bytes(4)),
    "entry is null": ({"a": None},),
    "entry is a number": ({"a": 4},),
    "entry has more": ({"a": {**tensor([1], 0, 4), "pickle": "x"}}, bytes(4)),
    "entry has less": ({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    "key of a megabyte": ({"a" * 2**20: tensor([1], 0, 4)}, bytes(4)),
    "key with a line break": ({"a\nb": tensor([1], 0, 4)}, bytes(4)),
    "key that colours the terminal": ({"\x1b[31m": tensor([1], 0, 4)}, bytes(4)),
    "half a letter": (b'{"\\ud800": %s}' % json.dumps(tensor([1], 0, 4)).encode(), bytes(4)),
    "too many tensors": ({str(i): tensor([0], 0, 0) for i in range(MOST_TENSORS + 1)},),
}  # fmt: skip


def one_line(error) -> str:
    """A message as a user may see it."""
    message = str(error)
    assert message.isprintable() and len(message) < 1000, message[:2000]
    return message


@pytest.mark.parametrize("parts", WRONG.values(), ids=WRONG)
def test_a_wrong_header_is_one_line(tmp_path, parts):
    path = write(tmp_path / "hostile.safetensors", *parts)
    with pytest.raises(ValueError) as error:
        TensorFile(path)
    message = one_line(error.value)
    assert message.startswith(f"{path} is not a complete safetensors file (") and message.endswith("again.")


def test_what_the_format_allows_is_read(tmp_path):
    header = {
        "__metadata__": {"note": "\n"},
        "state_dict.b": tensor([], 4, 8),
        "state_dict.a": tensor([2, 1], 0, 4, "BF16"),
        "state_dict.empty": tensor([0, 3], 8, 8),
        "state_dict.unknown": tensor([3], 8, 9, "F2_X"),
    }
    path = write(tmp_path / "file.safetensors", json.dumps(header).encode() + b"   ", bytes(9))
    with TensorFile(path) as file:
        assert file.shapes == {"b": (), "a": (2, 1), "empty": (0, 3), "unknown": (3,)}
        assert file.metadata == {"note": "\n"} and file.read_numpy("empty").shape == (0, 3)
        with pytest.raises(ValueError, match="file.safetensors: unknown is of type F2_X, known are F32"):
            file.read_numpy("unknown")


def test_it_is_the_package_that_says_how_large_a_type_is(tmp_path):
    """Every type of BYTES, in a file that the package accepts only if it agrees."""
    from safetensors import safe_open

    for dtype, size in BYTES.items():
        path = write(tmp_path / "file.safetensors", {"a": tensor([3], 0, 3 * size, dtype)}, bytes(3 * size))
        with safe_open(path, "np") as file:
            assert list(file.keys()) == ["a"]
        TensorFile(path)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_said(tmp_path, kind):
    path = tmp_path / "x.safetensors"
    if kind == "device":
        path = "/dev/zero"
    else:
        path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(OSError, match=f"{path} is a {'folder' if kind == 'folder' else 'pipe or device'}, not"):
        TensorFile(path)


@pytest.mark.parametrize("name", ["a\0b.safetensors", "absent.safetensors", "file/below.safetensors"])
def test_what_is_not_there_is_said(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="does not exist: check the path"):
        TensorFile(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_, np.uint8])
def test_integers_are_no_weights(tmp_path, dtype):
    path = write_official(tmp_path / "previewer.safetensors", "previewer")
    edit(path, lambda tensors: tensors.update({"blocks.0.bias": np.zeros(16, dtype)}))
    for attempt in (
        lambda: load_weights(unfilled("previewer"), path, "previewer"),
        lambda: convert_file(path, tmp_path / "target.safetensors", unfilled("previewer"), "previewer"),
    ):
        with pytest.raises(WeightsMismatch, match=r"previewer.safetensors has 1 tensors of a type.*blocks.0.bias \("):
            attempt()


def test_a_file_that_is_written_to_meanwhile_is_refused(tmp_path, monkeypatch):
    path = write_official(tmp_path / "previewer.safetensors", "previewer")
    read_into = TensorFile.read_into

    def touched(file, key, values):
        read_into(file, key, values)
        os.utime(path, ns=(0, 0))

    monkeypatch.setattr(TensorFile, "read_into", touched)
    with pytest.raises(ValueError, match="previewer.safetensors was changed while it was read"):
        load_weights(unfilled("previewer"), path, "previewer")


def test_an_error_of_the_disk_names_the_file(tmp_path, monkeypatch):
    path = write_official(tmp_path / "previewer.safetensors", "previewer")

    def broken(*_):
        raise OSError(5, "Input/output error")

    with TensorFile(path) as file:
        monkeypatch.setattr(os, "preadv", broken)
        with pytest.raises(OSError, match="while blocks.0.bias was read.*previewer.safetensors"):
            file.read("blocks.0.bias")


def test_flipped_bytes_are_read_or_refused_in_one_line(tmp_path):
    """Of a real header: what is still read has the tensors of the original, since every byte of data has its place."""
    path, generator = write_official(tmp_path / "original.safetensors", "stage_c"), random.Random(0)
    original = path.read_bytes()
    end = 8 + int.from_bytes(original[:8], "little")
    refused = 0
    for _ in range(600):
        data = bytearray(original)
        for _ in range(generator.choice((1, 1, 2, 8))):
            data[generator.randrange(end)] = generator.randrange(256)
        path.write_bytes(data)
        try:
            with TensorFile(path) as file:
                load_weights(unfilled_c(), path, "stage_c")
                assert len(file.keys()) > 100
        except ValueError as error:
            refused += 1
            assert str(path) in one_line(error)
    assert refused > 550


def unfilled_c(made=[]):  # noqa: B006 - built once
    if not made:
        made.append(unfilled("stage_c"))
    return made[0]
