"""The pickle machine: what paddle.save writes comes back, what asks for anything else is refused and never executed."""

import io
import os
import pickle
import pickletools
import struct

import numpy as np
import paddle
import pytest

from ldm.weights.pickles import read_pdparams, read_pickle
from ldm.weights.unpickler import INSTRUCTIONS, GeneratorState

SAVED = {
    "floats": {"a": paddle.arange(6, dtype="float32").reshape([2, 3]), "b.c": paddle.ones([4], "float64")},
    "scalar and empty": {"s": paddle.to_tensor(3.5), "e": paddle.zeros([0, 5])},
    "halves": {"h": paddle.ones([3], "float16"), "b": paddle.full([2], 1.5, "bfloat16")},
    "integers": {"i": paddle.arange(3), "u": paddle.to_tensor(np.array([1, 255], np.uint8))},
    "by themselves": [paddle.ones([2]), {"deep": (paddle.zeros([1]), None, "text", 2.5, True, 1 << 40)}],
    "schedule": {"last_epoch": 4, "last_lr": 0.002},
}


def arrays_of(value):
    """Every array in a value, in order."""
    if isinstance(value, dict):
        return [array for item in value.values() for array in arrays_of(item)]
    if isinstance(value, (list, tuple)):
        return [array for item in value for array in arrays_of(item)]
    return [value] if isinstance(value, np.ndarray) else []


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_paddle_saves_comes_back(tmp_path, name, protocol):
    path = str(tmp_path / "file.pdparams")
    paddle.save(SAVED[name], path, protocol=protocol)
    ours, theirs = arrays_of(read_pickle(path)), arrays_of(paddle.load(path, return_numpy=True))
    assert len(ours) == len(theirs) and all(
        one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other)
        for one, other in zip(ours, theirs)
    )
    if name == "schedule":
        assert read_pickle(path) == SAVED[name]


def test_columns_first_and_shared_arrays_keep_their_numbers(tmp_path):
    shared = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    (tmp_path / "x").write_bytes(pickle.dumps({"a": shared, "b": shared, "c": shared.T.copy()}, protocol=4))
    state = read_pdparams(tmp_path / "x")
    assert np.array_equal(state["a"], shared) and state["a"] is state["b"] and np.array_equal(state["c"], shared.T)


def test_bfloat16_is_widened_and_generators_are_plain_numbers(tmp_path):
    paddle.save({"b": paddle.full([2], 1.5, "bfloat16")}, str(tmp_path / "b.pdparams"))
    assert np.array_equal(read_pdparams(tmp_path / "b.pdparams")["b"], np.float32([1.5, 1.5]))
    state = paddle.base.core.default_cpu_generator().get_state()
    paddle.save({"cpu": state}, str(tmp_path / "rng"))
    assert read_pickle(tmp_path / "rng")["cpu"] == GeneratorState(state.__getstate__())


class Runs:
    """Whatever unpickles it runs a command."""

    def __init__(self, marker, how):
        self.marker, self.how = str(marker), how

    def __reduce__(self):
        touch = f"open({self.marker!r}, 'w')"
        return {
            "system": (os.system, (f"touch {self.marker}",)),
            "eval": (eval, (touch,)),
            "exec": (exec, (touch,)),
            "builtin": (getattr, ("text", "upper")),
            "class": (type, ("X", (), {})),
            "state": (np.ndarray, (1,), {"x": 1}),
            "allocation": (np.ndarray, ((1 << 40,),)),
            "dtype": (np.dtype, ("O",)),
        }[self.how]


@pytest.mark.parametrize("how", ["system", "eval", "exec", "builtin", "class", "state", "allocation", "dtype"])
@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_and_never_run(tmp_path, how, protocol):
    path = tmp_path / "model_state.pdparams"
    path.write_bytes(pickle.dumps({"a": np.ones(2), "b": Runs(tmp_path / "marker", how)}, protocol=protocol))
    with pytest.raises(ValueError, match="model_state.pdparams is not a readable weights file"):
        read_pickle(path)
    assert not (tmp_path / "marker").exists()


def protocol_4(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def asked(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


WRITTEN_BY_HAND = {
    "global by line": b"cos\nsystem\n(S'true'\ntR.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'true'\no.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "call of a class": protocol_4(asked("numpy", "ndarray"), b")", b"R"),
    "call of a text": protocol_4(text("x"), b")", b"R"),
    "instance of a class": protocol_4(asked("numpy", "ndarray"), b")", b"\x81"),
    "state of a dictionary": protocol_4(b"}", b"}", text("a"), text("b"), b"s", b"b"),
    "state of an ordered dictionary": protocol_4(asked("collections", "OrderedDict"), b")R", b"}", b"b"),
    "array without a state": protocol_4(b"}", text("a"), asked("numpy.core.multiarray", "_reconstruct"), b")R", b"s"),
    "generator without a state": protocol_4(asked("paddle.base.libpaddle", "GeneratorState"), b")\x81"),
    "key that is a tuple": protocol_4(b"}", b")", b"N", b"s"),
    "an invalid key": protocol_4(b"}", b"N", b"N", b"s"),
    "items set in a list": protocol_4(b"]", b"N", b"N", b"s"),
    "items appended to a dictionary": protocol_4(b"}", b"N", b"a"),
    "odd items": protocol_4(b"}", b"(", text("a"), b"u"),
    "text of an exabyte": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b".",
    "bytes of four exabytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
    "bytearray of an exabyte": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",
    "frame of an exabyte": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "number of two gigabytes": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".",
    "list that holds itself": protocol_4(b"]\x94h\x00a"),
    "nested lists": protocol_4(b"]" * 3000 + b"a" * 2999),
    "nested tuples": protocol_4(b"N" + b"\x85" * 100_000),
    "no end": b"\x80\x04}",
    "nothing": b"",
    "protocol of the future": b"\x80\x09N.",
    "mark without a start": b"\x80\x04u.",
    "empty stack": b"\x80\x04R.",
    "unknown memo": b"\x80\x04h\x05.",
    "a set": pickle.dumps({1, 2}, 4),
    "no pickle": b"\x89PNG\r\n\x1a\n" + bytes(100),
}


@pytest.mark.parametrize("name", WRITTEN_BY_HAND)
def test_programs_written_by_hand_are_refused(tmp_path, name):
    (tmp_path / "x.pdparams").write_bytes(WRITTEN_BY_HAND[name])
    with pytest.raises(ValueError, match="x.pdparams is not a readable weights file"):
        read_pickle(tmp_path / "x.pdparams")


def test_a_memo_index_takes_no_memory(tmp_path):
    (tmp_path / "x").write_bytes(
        b"\x80\x02}r\xff\xff\xff\x7f."
    )  # LONG_BINPUT 2147483647: the unpickler in C takes 32 GB
    assert read_pickle(tmp_path / "x") == {}


def test_what_doubles_with_every_instruction_is_looked_at_once(tmp_path):
    doubled = b"N\x94" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(6))
    (tmp_path / "x").write_bytes(protocol_4(doubled))
    assert read_pickle(tmp_path / "x")
    (tmp_path / "x").write_bytes(
        protocol_4(b"N\x94" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(200)))
    )
    with pytest.raises(ValueError, match="nested too deeply"):
        read_pickle(tmp_path / "x")


class ArrayOf:
    """Pickles as an array with any state."""

    def __init__(self, *state):
        self.state = state

    def __reduce__(self):
        return np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


FLOAT = np.dtype("f4")
STATES = {
    "too few bytes": (1, (2, 2), FLOAT, False, bytes(12)),
    "too many bytes": (1, (2, 2), FLOAT, False, bytes(20)),
    "negative": (1, (-1,), FLOAT, False, b""),
    "beyond 64 bits": (1, (1 << 62, 4), FLOAT, False, bytes(16)),
    "not a number": (1, (True,), FLOAT, False, bytes(4)),
    "too many axes": (1, (1,) * 9, FLOAT, False, bytes(4)),
    "objects": (1, (1,), np.dtype("O"), False, [1]),
    "a record": (1, (1,), np.dtype([("a", "f4")]), False, bytes(4)),
    "big-endian": (1, (1,), np.dtype(">f4"), False, bytes(4)),
    "texts": (1, (1,), np.dtype("U9"), False, bytes(36)),
    "a list": (1, (1,), FLOAT, False, [1.0]),
    "short": (1, (1,), FLOAT, False),
}


@pytest.mark.parametrize("name", STATES)
def test_arrays_are_numbers_and_as_large_as_their_data(tmp_path, name):
    (tmp_path / "x").write_bytes(pickle.dumps({"a": ArrayOf(*STATES[name])}, protocol=4))
    with pytest.raises(ValueError, match="not a readable weights file"):
        read_pickle(tmp_path / "x")


def test_an_array_written_so_is_read(tmp_path):
    (tmp_path / "x").write_bytes(
        pickle.dumps({"a": ArrayOf(1, (2, 1), FLOAT, False, np.float32([1, 2]).tobytes())}, protocol=4)
    )
    assert np.array_equal(read_pickle(tmp_path / "x")["a"], np.float32([[1], [2]]))


def test_only_arrays_are_weights(tmp_path):
    integers = {"a": np.arange(3)}
    for state, message in (
        (integers, "'a' is int64, and weights are no integers"),
        ({"a": 1}, "'a' is no array"),
        ([1], "holds a list"),
        ({}, "holds no weights"),
    ):
        (tmp_path / "x").write_bytes(pickle.dumps(state, protocol=4))
        with pytest.raises(ValueError, match=message):
            read_pdparams(tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_pdparams(tmp_path / "y")


def test_every_instruction_allowed_is_one_that_paddle_writes_or_once_wrote():
    """No instruction that calls, imports or copies is on the list but those with a method of our own."""
    dangerous = {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEWOBJ_EX", "NEXT_BUFFER", "DUP", "LONG4", "GET", "PUT"}  # fmt: skip
    assert not dangerous & set(INSTRUCTIONS.split())
    known = {op.name for op in pickletools.opcodes}
    assert set(INSTRUCTIONS.split()) <= known


def test_a_damaged_byte_is_an_error_or_another_value(tmp_path):
    """Every byte of a small file changed in turn: never anything but a value or a ValueError."""
    buffer = io.BytesIO()
    paddle.save({"a": paddle.ones([2, 2]), "b": paddle.zeros([3])}, buffer)
    whole = buffer.getvalue()
    for place in range(len(whole)):
        for value in (0, 0xFF, whole[place] ^ 1):
            (tmp_path / "x").write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                read_pickle(tmp_path / "x")
            except ValueError as error:
                assert str(tmp_path / "x") in str(error)
