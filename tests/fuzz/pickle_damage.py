"""Hostile pickles: each would make a file if it were executed, or fill the memory, or is none at all."""

import contextlib
import pickle
import pickletools

import numpy as np

from fuzz import bytes_damage


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def code_for(marker) -> str:
    return f"open({str(marker)!r}, 'w').write('a pickle ran')"


def calls(marker) -> list:
    """Objects whose unpickling makes the file `marker`."""
    import os
    import pathlib
    import subprocess

    import paddle

    code, path = code_for(marker), str(marker)
    return [
        Call(os.system, f"echo a pickle ran > '{path}'"),
        Call(exec, code),
        Call(eval, code),
        Call(pathlib.Path.write_text, pathlib.Path(path), "a pickle ran"),
        Call(subprocess.call, ["sh", "-c", f"echo a pickle ran > '{path}'"]),
        Call(np.save, path, np.zeros(1)),
        Call(np.ndarray.tofile, np.zeros(1), path),
        Call(paddle.save, {"a": 1}, path),
        Call(__import__("runpy").run_path, path + ".py"),
        Call(getattr, Call(__import__, "os"), "system"),
    ]


def opcodes(marker) -> list:
    """Pickles written by hand: every opcode that can reach a function."""
    command = f"echo a pickle ran > '{marker}'".encode()
    text = lambda value: b"X" + len(value).to_bytes(4, "little") + value  # noqa: E731
    short = lambda value: b"\x8c" + bytes([len(value)]) + value  # noqa: E731
    return [
        b"cos\nsystem\n(" + text(command) + b"tR.",  # GLOBAL REDUCE
        b"\x80\x04" + short(b"os") + short(b"system") + b"\x93" + text(command) + b"\x85R.",  # STACK_GLOBAL REDUCE
        b"(" + text(command) + b"ios\nsystem\n.",  # INST
        b"(cos\nsystem\n" + text(command) + b"o.",  # OBJ
        b"\x80\x02cos\nsystem\n" + text(command) + b"\x85\x81.",  # NEWOBJ
        b"\x80\x04cos\nsystem\n" + text(command) + b"\x85}\x92.",  # NEWOBJ_EX
        b"\x80\x02ccollections\nOrderedDict\n)R}" + text(b"x") + b"cos\nsystem\nsb" + b".",  # BUILD
        b"\x80\x02ccollections\nOrderedDict\n)RcNone\nNone\nb.",
        b"cbuiltins\ngetattr\n(c__builtin__\n__import__\n(" + text(b"os") + b"tR" + text(b"system") + b"tR("
        + text(command) + b"tR.",
        b"\x80\x04" + short(b"numpy.core.multiarray") + short(b"_reconstruct.__globals__") + b"\x93.",  # dotted name
        b"\x80\x04" + short(b"numpy") + short(b"ndarray.tofile") + b"\x93.",
        b"\x80\x04" + short(b"collections") + short(b"OrderedDict.__init__.__globals__") + b"\x93.",
        b"Pos.system\n.",  # PERSID
        b"\x80\x02" + text(b"os.system") + b"Q.",  # BINPERSID
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02cnumpy\nndarray\ncnumpy\ndtype\n" + text(b"O8") + b"\x85R" + b"0.",
        b"\x80\x02cnumpy\ndtype\n(" + text(b"f8") + b"K\x00K\x01tR(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x63.", b".", b"", b"\x80\x02", b"N.", b"]q\x00h\x00a.",
    ]  # fmt: skip


def bombs() -> list:
    """Little that becomes much, or without end."""
    doubling = b"(lp0\n" + b"".join(b"0(g%dg%dlp%d\n" % (i, i, i + 1) for i in range(60)) + b"."
    return [
        doubling,
        b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.",  # BINBYTES8
        b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"x.",  # BINUNICODE8
        b"\x80\x04B\xff\xff\xff\xffx.",
        b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",  # BYTEARRAY8
        b"\x80\x04\x8b\xff\xff\xff\x7f\x00.",  # LONG4
        b"\x80\x04\x95" + (2**60).to_bytes(8, "little") + b".",  # FRAME
        b"(" * 1_000_000 + b".", b"]" * 1_000_000 + b".",
        b"\x80\x02r\xff\xff\xff\xff.",  # LONG_BINPUT
        b"\x80\x02Nr\xf0\xff\xff\x0fN.", b"(" + b"N" * 5_000_000 + b"t.", b"I" + b"9" * 1_000_000 + b"\n.",
        *(big_array(shape) for shape in ((2**40,), (2**31, 2**31), (-1,), (2**62, 4))),
    ]  # fmt: skip


def big_array(shape) -> bytes:
    """An array that says it is far larger than its bytes."""
    marked = pickle.dumps({"unet.x": np.zeros((251, 253), np.float32)}, protocol=2)
    return marked.replace(b"M\xfb\x00M\xfd\x00\x86", pickle.dumps(shape, protocol=2)[2:-1].replace(b"q\x00", b""))


def hostile(rng, marker, content: bytes = b"") -> tuple[bytes, str]:
    """A pickle that must do nothing. `content`: the undamaged file, into whose dictionary a call may be put."""
    choice = rng.random()
    if choice < 0.35:
        protocol, number, chosen = rng.randrange(6), *rng.choice(list(enumerate(calls(marker))))
        if rng.random() < 0.5:
            chosen = {"unet.x": np.zeros(3, np.float32), "unet.y": chosen}
        return pickle.dumps(chosen, protocol=protocol), f"pickle: call {number}, protocol {protocol}"
    if choice < 0.6:
        number, chosen = rng.choice(list(enumerate(opcodes(marker))))
        return chosen, f"pickle: opcodes {number}"
    if choice < 0.8:
        number, chosen = rng.choice(list(enumerate(bombs())))
        return chosen, f"pickle: bomb {number}"
    if choice < 0.9 and content[-1:] == b".":
        call = b"cos\nsystem\n(X" + len(text := f"echo ran > '{marker}'".encode()).to_bytes(4, "little") + text + b"tR"
        return content[:-1] + call + b"0.", "pickle: a call at the end"
    return other_values(rng), "pickle: other values"


def other_values(rng) -> bytes:
    """Harmless pickles of what no state is."""
    values = (None, 1, "text", [], {}, {1: 2}, {"a": "b"}, {"unet.x": np.array(["a", None], object).astype(str)}, {"a": {}},
              {"unet.x": np.zeros(3, np.complex64)}, {"unet.x": np.zeros(0, np.float32)}, {"unet.x": np.float32(1)},
              {"unet.x": np.zeros(3, np.int64)}, {("a",): np.zeros(3, np.float32)}, {"unet.x": np.array(["a"], object)})  # fmt: skip
    return pickle.dumps(rng.choice(values), protocol=rng.randrange(6))


def damaged(rng, content: bytes) -> tuple[bytes, str]:
    """A pickle's bytes, or an opcode's argument, changed."""
    if rng.random() < 0.5:
        return bytes_damage.damaged(rng, content)
    places = []
    with contextlib.suppress(ValueError):  # cut off within an argument
        for _, _, place in pickletools.genops(content[:20000]):
            places.append(place)
    if not places:
        return bytes_damage.damaged(rng, content)
    place = rng.choice(places)
    other = bytes([rng.choice(b"()RNtbcioR}]seua0.2\x81\x92\x93\x85\x86\x87h\x94QP")])
    return content[:place] + other + content[place + 1 :], "pickle: another opcode"
