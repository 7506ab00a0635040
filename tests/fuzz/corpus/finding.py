"""A past finding, and the register of them."""

from dataclasses import dataclass

from fuzz.case import Input

FINDINGS = {}


@dataclass(frozen=True)
class Finding:
    """kind: a name in KINDS; damage(folder) -> Input."""

    kind: str
    damage: object


def of_file(name, kind, path, change, must_refuse=True, flags=()):
    """A finding that is a file: change(content) -> content."""

    def damage(folder):
        file = folder / path
        before = file.read_bytes() if file.is_file() else b""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(after := change(before))
        return Input(folder, name, file, before, after, flags, must_refuse)

    FINDINGS[name] = Finding(kind, damage)


def of_flags(kind, *flags):
    FINDINGS[f"{kind}: {' '.join(flags)}"[:100]] = Finding(
        f"flags, {kind}", lambda folder: Input(folder, " ".join(flags), flags=flags, must_refuse=True)
    )
