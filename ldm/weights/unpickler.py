"""An unpickler that knows arrays, numbers, texts and containers, and executes nothing.

A pickle is a program. This machine has the few instructions that `paddle.save` uses, checks all their arguments,
and calls nothing that a file names: what a file may ask for stands in ALLOWED, and is one of our own functions. Sizes are
compared with the file's before memory is taken. The machine is the standard library's own in Python (`pickle._Unpickler`,
the documented base of the one in C) with its table of instructions cut down: state dicts have thousands of instructions
and gigabytes of data, which it reads at the same speed.
"""

import math
import pickle

import numpy as np

INSTRUCTIONS = (
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINBYTES BINBYTES BINBYTES8 "
    "SHORT_BINUNICODE BINUNICODE EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD MEMOIZE BINGET LONG_BINGET BINPUT LONG_BINPUT"
)
DTYPES = ("f2", "f4", "f8", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "b1")
DEEPEST, MOST_AXES, LONGEST_LINE = 8, 8, 200


def unpickled(file, size: int):
    """What an open file of `size` bytes holds; pickle.UnpicklingError and whatever else damaged pickles lead to."""
    return _plain(_Machine(_Bounded(file, size)).load(), {})


class GeneratorState(tuple):
    """Paddle's random number generator as it pickles itself: (device, seed, offset, its Mersenne Twister as a text's codes)."""


class _Machine(pickle._Unpickler):
    """The unpickler with the instructions above; every value that could be called or changed is one of the classes below."""

    dispatch = {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in INSTRUCTIONS.split()}  # fmt: skip

    def find_class(self, module, name):
        if (found := ALLOWED.get((module, name))) is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a weights file has no use for"[:200])
        return found

    def load_reduce(self):
        arguments, function = self.stack.pop(), self.stack[-1]
        if not (isinstance(function, _Function) and isinstance(arguments, tuple)):
            raise pickle.UnpicklingError("it calls what is no function of a weights file")
        self.stack[-1] = function.call(*arguments)

    def load_newobj(self):
        arguments, cls = self.stack.pop(), self.stack[-1]
        if cls is not _GENERATOR or arguments != ():
            raise pickle.UnpicklingError("it makes an object that a weights file has no use for")
        self.stack[-1] = _Generator()

    def load_build(self):
        state, built = self.stack.pop(), self.stack[-1]
        if not isinstance(built, (_Array, _Dtype, _Generator)):
            raise pickle.UnpicklingError("it gives a state to what has none")
        built.build(state)

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self):
        self._set(self.pop_mark())

    def _set(self, items):
        """Keys are texts and integers: those of tuples could take for ever to hash."""
        target = self.stack[-1]
        if type(target) is not dict or any(type(key) not in (str, int) for key in items[::2]):
            raise pickle.UnpicklingError("a dictionary of it has keys that are neither texts nor numbers")
        target.update(zip(items[::2], items[1::2], strict=True))

    def load_append(self):
        value = self.stack.pop()
        self._extend([value])

    def load_appends(self):
        self._extend(self.pop_mark())

    def _extend(self, values):
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError("it appends to what is no list")
        self.stack[-1].extend(values)

    for _name in "REDUCE NEWOBJ BUILD SETITEM SETITEMS APPEND APPENDS".split():
        dispatch[getattr(pickle, _name)[0]] = locals()[f"load_{_name.lower()}"]


class _Bounded:
    """A file that refuses to be asked for more than it has left, before anything is allocated for it."""

    def __init__(self, file, size: int):
        self.file, self.left = file, size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise pickle.UnpicklingError("it ends too early")
        self.left -= count
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline(LONGEST_LINE)
        self.left -= len(line)
        if not line.endswith(b"\n"):
            raise pickle.UnpicklingError("it has a line without an end")
        return line


class _Function:
    """Something of ours that a file may call."""

    def __init__(self, call):
        self.call = call


class _Dtype:
    """An array's dtype, one of a short list."""

    def __init__(self, code, *_):
        if code not in DTYPES:
            raise pickle.UnpicklingError(f"it has numbers of type {str(code)[:20]!r}")
        self.dtype = np.dtype(code)

    def build(self, state):
        if not (isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", "|", "=")):
            raise pickle.UnpicklingError("it has numbers in another byte order")


class _Array:
    """An array, empty until its state is given."""

    def __init__(self, *_):
        self.array = None

    def build(self, state):
        if self.array is not None or not (isinstance(state, tuple) and len(state) == 5):
            raise pickle.UnpicklingError("an array of it is built in an unknown way")
        _, shape, dtype, columns_first, data = state
        valid = isinstance(shape, tuple) and len(shape) <= MOST_AXES and all(type(side) is int for side in shape)
        if not (valid and isinstance(dtype, _Dtype) and isinstance(data, bytes)) or min(shape, default=0) < 0:
            raise pickle.UnpicklingError("an array of it is built in an unknown way")
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise pickle.UnpicklingError(f"an array of shape {shape} has {len(data)} bytes")
        self.array = np.ndarray(shape, dtype.dtype, data, order="F" if columns_first else "C")


class _Generator:
    """A GeneratorState whose state is still to come."""

    def __init__(self):
        self.state = None

    def build(self, state):
        if self.state is not None or not isinstance(state, tuple):
            raise pickle.UnpicklingError("a random number generator of it is built in an unknown way")
        self.state = state


def _named(pair):
    """The tuple (name, array) as which Paddle pickles a tensor by itself."""
    if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
        raise pickle.UnpicklingError("a tensor of it is built in an unknown way")
    return pair


def _latin1(text, encoding):
    """How bytes are written by the protocols before 3."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it has bytes in an unknown encoding")
    return text.encode("latin1")


def _no_bytes(*arguments):
    """How an empty array's bytes are written by the protocols before 3."""
    if arguments:
        raise pickle.UnpicklingError("it has bytes in an unknown encoding")
    return b""


_GENERATOR = object()
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _Function(_Array),
    ("numpy._core.multiarray", "_reconstruct"): _Function(_Array),
    ("numpy", "ndarray"): object(),  # the class that _reconstruct is told to make
    ("numpy", "dtype"): _Function(_Dtype),
    ("collections", "OrderedDict"): _Function(dict),
    ("builtins", "tuple"): _Function(_named),
    ("__builtin__", "tuple"): _Function(_named),
    ("_codecs", "encode"): _Function(_latin1),
    ("__builtin__", "bytes"): _Function(_no_bytes),
    ("paddle.base.libpaddle", "GeneratorState"): _GENERATOR,
    ("paddle.fluid.libpaddle", "GeneratorState"): _GENERATOR,
}


def _plain(value, seen: dict, depth: int = 0):
    """The value with our own arrays and generator states in place of what the machine builds. What is shared is done once."""
    if isinstance(value, (dict, list, tuple)):
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        if id(value) not in seen:
            seen[id(value)] = None  # refused if it is met within itself
            if isinstance(value, dict):
                seen[id(value)] = {key: _plain(item, seen, depth + 1) for key, item in value.items()}
            else:
                seen[id(value)] = type(value)(_plain(item, seen, depth + 1) for item in value)
        if seen[id(value)] is None:
            raise ValueError("it contains itself")
        return seen[id(value)]
    if isinstance(value, _Array) and value.array is not None:
        return value.array
    if isinstance(value, _Generator) and value.state is not None:
        return GeneratorState(_plain(value.state, seen, depth + 1))
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return value
    raise ValueError("it holds something that a weights file has no use for")
