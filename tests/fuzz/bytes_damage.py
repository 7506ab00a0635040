"""Damage that needs no knowledge of a format."""


def flip_bit(rng, data):
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def flip_bits(rng, data):
    for _ in range(rng.randint(2, 64)):
        data = flip_bit(rng, data)
    return data


def truncate(rng, data):
    return data[: rng.randrange(len(data))]


def cut_end(rng, data):
    return data[: -min(len(data), rng.randint(1, 64))]


def empty(rng, data):
    return b""


def duplicate(rng, data):
    start, end = span(rng, data)
    return data[:end] + data[start:end] + data[end:]


def remove(rng, data):
    start, end = span(rng, data)
    return data[:start] + data[end:]


def swap(rng, data):
    start, end = span(rng, data)
    other = rng.randrange(len(data) - (end - start) + 1)
    if other < end and start < other + end - start:
        return remove(rng, data)
    first, second = sorted([(start, end), (other, other + end - start)])
    return b"".join([data[: first[0]], data[slice(*second)], data[first[1] : second[0]], data[slice(*first)],
                     data[second[1] :]])  # fmt: skip


def zeros(rng, data):
    start, end = span(rng, data)
    return data[:start] + bytes(end - start) + data[end:]


def noise(rng, data):
    start, end = span(rng, data)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def insert(rng, data):
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.randint(1, 32)) + data[place:]


def append(rng, data):
    return data + rng.randbytes(rng.randint(1, 4096))


def span(rng, data) -> tuple[int, int]:
    """A piece of some bytes, most of them short."""
    length = min(len(data), 1 << rng.randint(0, 12))
    start = rng.randrange(len(data) - length + 1)
    return start, start + length


DAMAGES = (
    *(flip_bit, flip_bits, truncate, cut_end, empty, duplicate, remove, swap, zeros, noise, insert, append),
    *(flip_bit, flip_bits),  # the likeliest
)


def damaged(rng, data: bytes) -> tuple[bytes, str]:
    """Other bytes, and what was done."""
    while True:
        damage = rng.choice(DAMAGES)
        changed = damage(rng, data) if data else rng.randbytes(8)
        if changed != data:
            return changed, f"bytes: {damage.__name__}"


def near(rng, data: bytes, end: int) -> tuple[bytes, str]:
    """Damage within the first `end` bytes."""
    head, note = damaged(rng, data[:end])
    return head + data[end:], f"{note} in the first {end}"
