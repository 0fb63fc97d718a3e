"""Faults that a person might write, made by changing one expression or statement of a module's source."""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_LOGGERS = {"log", "logger", "logging"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A module's source with one line changed: which line (from 1), and that line before and after."""

    line: int
    kind: str
    before: str
    after: str
    source: str


def faults(source: str) -> list[Fault]:
    """Return every fault that can be put into a module, in the order of its lines."""
    lines = source.splitlines(keepends=True)
    found: dict[tuple[int, str], Fault] = {}
    original = ast.dump(ast.parse(source))
    for node, kind, text in _changes(ast.parse(source)):
        at = node.lineno - 1
        raw = lines[at].encode()
        changed = (raw[: node.col_offset] + text.encode() + raw[node.end_col_offset :]).decode()
        whole = "".join([*lines[:at], changed, *lines[at + 1 :]])
        if _parsed(whole) not in ("", original):
            found.setdefault((at, changed), Fault(at + 1, kind, lines[at].strip(), changed.strip(), whole))
    return sorted(found.values(), key=lambda fault: (fault.line, fault.after))


def _parsed(source: str) -> str:
    """Return the syntax tree as text, "" for an invalid module."""
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:
        return ""


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    """Yield a node on one line, the kind of the fault, and the text to put in the node's place."""
    for node in _reachable(tree):
        for condition in _conditions(node):
            yield condition, "not", f"(not ({ast.unparse(condition)}))"
        if isinstance(node, ast.expr | ast.stmt) and node.lineno == node.end_lineno:
            for kind, changed in _changed(node):
                text = "pass" if changed is None else ast.unparse(changed)
                yield node, kind, f"({text})" if isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp) else text


def _conditions(node: ast.AST) -> list[ast.expr]:
    """Return what decides in an `if`, a `while`, a conditional expression or a comprehension, if it is on one line."""
    found = node.ifs if isinstance(node, ast.comprehension) else [getattr(node, "test", None)]
    return [one for one in found if isinstance(one, ast.expr) and one.lineno == one.end_lineno]


def _reachable(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run: no annotations, docstrings, log lines, messages of errors, or imports for types."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Raise):
                yield child  # its message is not looked at
            elif isinstance(child, ast.AST) and not _is_silent(child):
                yield from _reachable(child)


def _is_silent(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name in _LOGGERS
    return False


def _changed(node: ast.expr | ast.stmt) -> Iterator[tuple[str, ast.AST | None]]:
    """Yield the kind of a fault, and what to put in the node's place; None for nothing."""
    yield from _changed_statement(node) if isinstance(node, ast.stmt) else _changed_expression(node)


def _changed_expression(node: ast.expr) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.Compare(ops=[operator]):
            yield "comparison", _with(node, ops=[_FLIPPED[type(operator)]()])
        case ast.BoolOp(op=operator):
            yield "and, or", _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield from (("constant", ast.Constant(other)) for other in (value + 1, value - 1, value * 100))
        case ast.Call(args=arguments, keywords=keywords) if len(arguments) + len(keywords) > 1 or keywords:
            if arguments:
                yield "argument", _with(node, args=arguments[:-1])
            for at in range(len(keywords)):
                yield "argument", _with(node, keywords=keywords[:at] + keywords[at + 1 :])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not", operand


def _changed_statement(node: ast.stmt) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.Return(value=ast.expr() as value):
            yield "return", _with(node, value=_other(value))
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete() | ast.Continue() | ast.Break():
            yield "statement", None
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Raise():
            yield "statement", None


def _other(value: ast.expr) -> ast.expr:
    match value:
        case ast.Constant(value=bool(answer)):
            return ast.Constant(not answer)
        case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
            return ast.UnaryOp(ast.Not(), value)
        case ast.Constant(value=None):
            return ast.Constant(0)
    return ast.Constant(None)


def _with(node: ast.AST, **changes: object) -> ast.AST:
    made = copy.copy(node)
    for name, value in changes.items():
        setattr(made, name, value)
    return made
