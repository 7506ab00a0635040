"""How a part says that nothing may be measured any more."""


class Untrustworthy(Exception):
    """A measurement that forbids all further ones. Not an input error: the command exits with 1 instead of 2."""
