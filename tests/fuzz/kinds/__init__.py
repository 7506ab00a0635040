"""Every kind of input: one table."""

from fuzz.kinds import release

KINDS = {kind.name: kind for kind in (*release.KINDS,)}
