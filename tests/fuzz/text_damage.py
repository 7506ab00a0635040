"""Damage to text files of one item a line: captions, merges, tables."""

from fuzz import bytes_damage


def damaged(rng, content: bytes) -> tuple[bytes, str]:
    """Lines dropped, doubled, swapped; other encodings and line ends; bytes anywhere."""
    if rng.random() < 0.35 or not content:
        return bytes_damage.damaged(rng, content)
    while True:
        damage = rng.choice(DAMAGES)
        changed = damage(rng, content)
        if changed != content:
            return changed, f"text: {damage.__name__}"


def emptied(rng, content):
    return rng.choice((b"", b"\n", b" \n\t\n", b"\xef\xbb\xbf", b"\r\r"))


def header_alone(rng, content):
    return content.splitlines(keepends=True)[0]


def dropped_line(rng, content):
    lines = content.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def doubled_line(rng, content):
    lines = content.splitlines(keepends=True)
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return b"".join(lines)


def swapped_lines(rng, content):
    lines = content.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def returns_alone(rng, content):
    return content.replace(b"\n", b"\r")


def returns_too(rng, content):
    return content.replace(b"\n", b"\r\n")


def with_mark(rng, content):
    return b"\xef\xbb\xbf" + content


def latin1(rng, content):
    place = rng.randrange(len(content) + 1)
    return content[:place] + b" caf\xe9 " + content[place:]


def utf16(rng, content):
    return content.decode("utf-8", "replace").encode("utf-16")


def controls(rng, content):
    place = rng.randrange(len(content) + 1)
    return content[:place] + bytes(rng.choice((0, 1, 7, 8, 27, 127)) for _ in range(5)) + content[place:]


def quotes(rng, content):
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice((b'"', b'""', b"'", b",", b"\t", b"\\", b'"\n')) + content[place:]


def long_line(rng, content):
    return content.rstrip(b"\n") + b"a" * rng.choice((200_000, 3_000_000)) + b"\n"


def brackets(rng, content):
    return rng.choice((b"[", b'{"a":')) * 100_000 + b"\n" + content


DAMAGES = (emptied, header_alone, dropped_line, doubled_line, swapped_lines, returns_alone, returns_too, with_mark, latin1,
           utf16, controls, quotes, long_line, brackets)  # fmt: skip
