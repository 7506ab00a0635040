"""Damage done to one file in a folder."""

from fuzz.case import Damage, Input


def damaged_file(choose, damage, rng, folder) -> Input:
    """Damage one of the files that `choose(folder)` lists, in place. damage(rng, content) -> Damage or (content, note)."""
    path = rng.choice(choose(folder))
    before = path.read_bytes()
    done = damage(rng, before)
    done = done if isinstance(done, Damage) else Damage(*done)
    path.write_bytes(done.content)
    return Input(folder, done.note, path, before, done.content, must_refuse=done.must_refuse)
