"""Filters over a sample's metadata, such as "width >= 512 and 'nude' not in tags": a small language, never executed code."""

import ast
import math
import operator
from collections.abc import Callable

from ldm.data.sources.source import listed
from ldm.data.texts import printable

LONGEST = 2000  # characters of an expression
DEEPEST = 100  # operators within one another
MOST_BITS = 1024  # of a whole number: as large as the largest float; products of larger ones would take for ever
SHOWN = 200  # characters of an expression or value in errors
COMPARISONS = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
FUNCTIONS = {"len": len, "lower": lambda text: text.lower(), "abs": abs}
LANGUAGE = (
    "comparisons, in, and, or, not, + - * / // %, numbers, texts, lists, True, False, None, names of the metadata, "
    f"{', '.join(FUNCTIONS)}, has(name) and value('a name with spaces')"
)


class Filter:
    """A filter expression. Called with a sample's metadata it says whether the sample is kept.

    ValueError for an expression outside the language (LANGUAGE), for a sample that lacks a key the expression needs
    (`has(key)` asks for it: there, not null and not NaN or infinite), and for values that cannot be compared; it names
    the sample.
    """

    def __init__(self, text: str):
        self.text = text
        try:
            if len(text) > LONGEST:
                raise ValueError(f"longer than {LONGEST} characters")
            body = ast.parse(text.strip(), mode="eval").body
            _check_depth(body)
            self._keep = self._compiled(body)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"--data_filter {_shown(text)}: {error}. It may use {LANGUAGE}.") from error

    def __call__(self, metadata: dict, source=None, index: int = 0) -> bool:
        """source, index: where the metadata come from, for messages."""
        try:
            return bool(self._keep(metadata))
        except (KeyError, TypeError, AttributeError, ArithmeticError, ValueError, RecursionError) as error:
            sample = source.label(index) if source is not None else "a sample"
            if isinstance(error, KeyError):
                keys = listed(list(metadata), len(metadata), 20) or "none"
                problem = (
                    f"{sample} has no {error} (it has {keys}); 'has({error.args[0]}) and ...' leaves such samples out"
                )
            else:
                problem = f"{sample}: {printable(error)[: 2 * SHOWN]}"
            place = f" Its metadata: {source.metadata_place(index)}." if source is not None else ""
            raise ValueError(f"--data_filter {self.text!r}: {problem}.{place}") from error

    def _compiled(self, node) -> Callable[[dict], object]:
        """A function of the metadata for an expression; ValueError for what is not in the language."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return lambda metadata: value
            case ast.Name(id=name):
                return lambda metadata: _finite(metadata[name], name)
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                return self._list(parts)
            case ast.BoolOp(op=op, values=parts):
                parts = [self._compiled(part) for part in parts]
                combine = all if isinstance(op, ast.And) else any
                return lambda metadata: combine(part(metadata) for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=part):
                part = self._compiled(part)
                return lambda metadata: not part(metadata)
            case ast.UnaryOp(op=ast.USub(), operand=part):
                part = self._compiled(part)
                return lambda metadata: -_number(part(metadata))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                return self._arithmetic(ARITHMETIC[type(op)], self._compiled(left), self._compiled(right))
            case ast.Compare(left=left, ops=ops, comparators=rights) if all(type(op) in COMPARISONS for op in ops):
                return self._comparison([COMPARISONS[type(op)] for op in ops], [left, *rights])
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments)
        raise ValueError(f"{ast.unparse(node)!r} is not allowed")

    def _list(self, parts):
        parts = [self._compiled(part) for part in parts]
        return lambda metadata: [part(metadata) for part in parts]

    def _arithmetic(self, function, left, right):
        return lambda metadata: _number(function(_number(left(metadata)), _number(right(metadata))))

    def _comparison(self, operators, operands):
        operands = [self._compiled(part) for part in operands]

        def compare(metadata):  # 1 < x < 5, from the left, stopping at the first that fails
            left = operands[0](metadata)
            for function, operand in zip(operators, operands[1:]):
                right = operand(metadata)
                if not function(left, right):
                    return False
                left = right
            return True

        return compare

    def _call(self, name: str, arguments: list):
        if name in ("has", "value"):
            match arguments:
                case [ast.Name(id=key)] if name == "has":
                    pass
                case [ast.Constant(value=str() as key)]:
                    pass
                case _:
                    raise ValueError(f"{name} takes one {'name or text' if name == 'has' else 'text'}")
            if name == "has":
                return lambda metadata: metadata.get(key) is not None and not _is_non_finite(metadata[key])
            return lambda metadata: _finite(metadata[key], key)
        if name not in FUNCTIONS:
            raise ValueError(f"{name}(...) is not allowed")
        function, parts = FUNCTIONS[name], [self._compiled(part) for part in arguments]
        return lambda metadata: function(*(part(metadata) for part in parts))


def _shown(value) -> str:
    """A value for an error, at most SHOWN characters of it."""
    text = repr(value[:SHOWN]) if isinstance(value, str) else printable(value)[:SHOWN]
    return f"{text}..." if isinstance(value, str) and len(value) > SHOWN else text


def _check_depth(node):
    """ValueError for an expression that Python could evaluate only by calling itself too often."""
    level = [node]
    for _ in range(DEEPEST):
        level = [child for parent in level for child in ast.iter_child_nodes(parent)]
        if not level:
            return
    raise ValueError(f"more than {DEEPEST} operators within one another")


def _number(value):
    """Only numbers are calculated with, since texts and lists could be multiplied to any length; and only of some size."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"{_shown(value)} is no number")
    if isinstance(value, int) and value.bit_length() > MOST_BITS or _is_non_finite(value):
        raise OverflowError("a number is too large")
    return value


def _is_non_finite(value) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _finite(value, name: str):
    """A sample's value; ValueError for NaN, which no comparison holds for, and infinity, as 1e999 is read."""
    if _is_non_finite(value):
        raise ValueError(f"{name!r} is {value}; 'has({name}) and ...' leaves such samples out")
    return value
