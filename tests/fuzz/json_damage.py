"""Damage to JSON: values dropped, of other types, huge, nested; text that is nearly JSON."""

import copy
import json

from fuzz import bytes_damage

NUMBERS = (
    *(0, -1, 1, 2, 3, 7, 65537, 2**31, 2**53 + 1, 10**23, 99999999, -(2**63)),
    *(0.5, -0.0, 1e-30, 1e30, 1e308, float("nan"), float("inf"), float("-inf")),
)
TEXTS = ("", " ", "a", "NaN", "../../x", "\x00", "\ud800", "é" * 3, "x" * 100_000, "1", "true", "[1]", "%s%n{}")
OTHERS = (None, True, False, [], {}, [1], [[]], {"a": 1}, ["a"], [None], [-1], [[1, 1], [1, 1]])


def nested(depth: int, opening="[", closing="]") -> str:
    return opening * depth + closing * depth


def hostile_value(rng):
    return copy.deepcopy(rng.choice(rng.choice((NUMBERS, TEXTS, OTHERS))))


def places(value, path=()):
    """The path of every value inside, outermost first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def damaged_value(rng, value):
    """(another value, what was done); `value` is a dict or list with something in it."""
    value = copy.deepcopy(value)
    all_places = list(places(value))[:2000]
    path = rng.choice(all_places[1:] or [()])
    if not path:
        return hostile_value(rng), "json: whole value"
    parent, key = at(value, path[:-1]), path[-1]
    old = parent[key]
    action = rng.choice(("drop", "retype", "retype", "retype", "nudge", "wrap", "rename", "extra", "double"))
    if action == "drop":
        del parent[key]
    elif action == "nudge" and isinstance(old, (int, float)) and not isinstance(old, bool):
        parent[key] = rng.choice((old + 1, old - 1, -old, old * 2, old * 1000, float(old), str(old), not old))
    elif action == "wrap":
        parent[key] = rng.choice(([old], {"value": old}, [old, old], str(old)))
    elif action == "rename" and isinstance(parent, dict):
        parent[rng.choice(("", "x", f"{key}s", f"_{key}", "__class__", "self"))] = parent.pop(key)
    elif action == "extra" and isinstance(parent, dict):
        parent[rng.choice(("unknown", "", "__init__", "self", "args"))] = hostile_value(rng)
    elif action == "double" and isinstance(parent, list):
        parent.insert(key, old)
    else:
        action, parent[key] = "retype", hostile_value(rng)
    return value, f"json: {action} {'.'.join(map(str, path))}"


def text_of(value) -> str:
    return json.dumps(value)  # a lone surrogate is an escape there


def damaged(rng, data: bytes) -> tuple[bytes, str]:
    """Another content of a JSON file, and what was done."""
    choice = rng.random()
    if choice < 0.6:
        for _ in range(20):
            value, note = damaged_value(rng, json.loads(data))
            text = text_of(value).encode()
            if json.loads(text) != json.loads(data) or "NaN" in text.decode():
                return text, note
    if choice < 0.75:
        return rng.choice(TEXT_DAMAGES)(rng, data)
    return bytes_damage.damaged(rng, data)


def deep(rng, data):
    depth = rng.choice((500, 5000, 100_000))
    return nested(depth, *rng.choice((("[", "]"), ('{"a":', "}")))).encode(), f"json: {depth} levels"


def deep_inside(rng, data):
    place = data.find(b":") + 1
    end = min((i for i in (data.find(b",", place), data.find(b"}", place)) if i >= 0), default=len(data))
    return data[:place] + nested(rng.choice((500, 100_000))).encode() + data[end:], "json: deep value"


def digits(rng, data):
    return b'{"a": ' + b"9" * rng.choice((5000, 1_000_000)) + b"}", "json: thousands of digits"


def unclosed(rng, data):
    return b'{"a": [' * 3000, "json: unclosed"


def utf16(rng, data):
    return data.decode("utf-8", "replace").encode("utf-16"), "json: UTF-16"


def latin1(rng, data):
    return data.replace(b"{", b'{"\xe9": 1, ', 1), "json: Latin-1"


def with_mark(rng, data):
    return b"\xef\xbb\xbf" + data, "json: byte order mark"


def plain(rng, data):
    return rng.choice(
        (b"null", b"1", b'"a"', b"[]", b"{}", b"true", b"NaN", b"[1]", b"\x00" * 20)
    ), "json: another value"


def doubled_key(rng, data):
    return data.replace(b"{", b'{"kind": 1, "kind": 2, ', 1), "json: a key twice"


TEXT_DAMAGES = (deep, deep_inside, digits, unclosed, utf16, latin1, with_mark, plain, plain, doubled_key)


# What changed ---------------------------------------------------------------------------------------------------------


def plausible_change(before, after, extra_keys: bool = True, dropped_keys: bool = True) -> bool:
    """Whether `after` could have been written by someone who meant it: the same types, finite numbers, keys left out.

    extra_keys: unknown keys are allowed too, as files of other tools have them.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        if not extra_keys and after.keys() - before.keys() or not dropped_keys and before.keys() - after.keys():
            return False
        return all(
            plausible_change(before[k], after[k], extra_keys, dropped_keys) for k in before.keys() & after.keys()
        )
    if isinstance(before, list) and isinstance(after, list):
        return all(isinstance(a, type(before[0])) if before else True for a in after) and all(
            plausible_change(b, a, extra_keys, dropped_keys) for b, a in zip(before, after)
        )
    if isinstance(before, bool) or isinstance(after, bool) or before is None or after is None:
        return type(before) is type(after) or before is None
    if isinstance(before, (int, float)) and isinstance(after, (int, float)):
        return abs(after) < 1e9 and (isinstance(after, int) or isinstance(before, float))  # NaN is not
    return isinstance(before, str) and isinstance(after, str)
