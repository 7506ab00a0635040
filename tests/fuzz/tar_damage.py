"""Damage to tars: fields of headers with sums that are right again, members doubled, linked or cut, bytes anywhere."""

import io
import tarfile

from fuzz import bytes_damage
from fuzz.case import Damage

BLOCK = 512
NAME, SIZE, SUM, TYPE, PREFIX = slice(0, 100), slice(124, 136), slice(148, 156), 156, slice(345, 500)


def damaged(rng, content: bytes) -> Damage:
    return rng.choice((in_header, in_header, in_members, in_members, in_bytes))(rng, content)


def in_bytes(rng, content):
    return Damage(*bytes_damage.damaged(rng, content))


def headers(content: bytes) -> list:
    """The places of the members' headers."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [member.offset for member in tar]


def in_header(rng, content):
    """One field of one header; its sum is right again, or left as it was."""
    start = rng.choice(headers(content))
    header = bytearray(content[start : start + BLOCK])
    field = rng.choice(("size", "type", "name", "prefix", "magic", "sum"))
    if field == "size":
        header[SIZE] = rng.choice((b"%011o\0" % rng.choice((0, 1, 511, 10**6, 8**11 - 1)), b"\x80" + b"\0" * 10 + b"\x7f",
                                   b"\xff" * 12, b" " * 12, b"-0000000001\0", b"abcdefghijk\0"))  # fmt: skip
    elif field == "type":
        header[TYPE] = rng.choice(b"0125345678xgLKSVDA\0\xff")
    elif field == "name":
        name = rng.choice(
            (
                b"../../x.png",
                b"/abs/x.png",
                b"",
                b"a" * 100,
                b"x.png\0y",
                b"\xff\xfe.png",
                b".hidden.png",
                b"0",
                b"a/b/c.png",
            )
        )
        header[NAME] = name.ljust(100, b"\0")
    elif field == "prefix":
        header[PREFIX] = rng.choice((b"p", b"../..", b"\xff" * 155)).ljust(155, b"\0")
    elif field == "magic":
        header[257:265] = rng.choice((b"ustar\00000", b"ustar  \0", b"\0" * 8, b"xxxxxxxx"))
    right = field != "sum" and rng.random() < 0.8
    header[SUM] = b"%06o\0 " % _sum(header) if right else b"%06o\0 " % rng.randrange(8**6)
    changed = content[:start] + bytes(header) + content[start + BLOCK :]
    if changed == content:
        return in_bytes(rng, content)
    # A sum that is wrong is the one thing that a tar's reader can see
    return Damage(changed, f"tar: header {field}{', sum right' if right else ''}", must_refuse=not right)


def _sum(header) -> int:
    return sum(header[:148]) + 8 * 32 + sum(header[156:])


def in_members(rng, content):
    """Members of other kinds, doubled, in other orders; ends that are missing."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    action = rng.choice(
        ("double", "double sample", "drop", "shuffle", "link", "empty", "pax", "cut", "no end", "json", "caption")
    )
    number, must_refuse = rng.randrange(len(members)), False
    member, data = members[number]
    if action == "double":
        members.insert(number + 1, (member, data))
        must_refuse = True
    elif action == "double sample":
        key = member.name.partition(".")[0]
        members += [entry for entry in members if entry[0].name.partition(".")[0] == key]
        must_refuse = True
    elif action == "drop":
        del members[number]
    elif action == "shuffle":
        rng.shuffle(members)
    elif action == "link":
        member.type, member.linkname = (
            rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)),
            rng.choice(("0.txt", "/etc/passwd", member.name)),
        )
        members[number] = member, b""
    elif action == "empty":
        members[number] = member, b""
    elif action == "pax":
        member.pax_headers = {
            rng.choice(("size", "path", "GNU.sparse.map", "hdrcharset")): rng.choice(("-1", "9" * 20, "x", ""))
        }
    elif action == "json":
        names = [i for i, (entry, _) in enumerate(members) if entry.name.endswith(".json")]
        member, data = members[i := rng.choice(names)]
        members[i] = member, rng.choice((b"[" * 100_000, b"[1]", b"{", b"\xff", b'{"a": NaN}', b"9" * 10_000))
    elif action == "caption":
        names = [i for i, (entry, _) in enumerate(members) if entry.name.endswith(".txt")]
        member, data = members[i := rng.choice(names)]
        data = rng.choice((b"\xff\xfe", b" \n", b"caf\xe9", b"\0", b"a" * 10**6))
        members[i], must_refuse = (member, data), data in (b"\xff\xfe", b" \n", b"caf\xe9")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    changed = file.getvalue()
    if action in ("cut", "no end"):
        end = changed.rstrip(b"\0")
        changed = end[: rng.randrange(BLOCK, len(end))] if action == "cut" else end + bytes(-len(end) % BLOCK)
        must_refuse = action == "cut"
    if changed == content:
        return in_bytes(rng, content)
    return Damage(changed, f"tar: {action}", must_refuse)
