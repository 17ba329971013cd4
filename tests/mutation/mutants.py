"""Mutants of a module: its source with one small mistake each.

What is changed: comparisons (their boundary, their sense), arithmetic, `and` and `or`, conditions,
numbers by one, what is returned, smallest for largest, the order of two arguments, the ends of
slices, statements that are left out. Texts, types and decorators stay: no test should hold on to
the words of a message.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SWAPPED: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
PAIRS = (
    ("min", "max"), ("nanmin", "nanmax"), ("minimum", "maximum"), ("fmin", "fmax"),
    ("argmin", "argmax"), ("any", "all"), ("floor", "ceil"),
)  # fmt: skip
OPPOSITE = dict(PAIRS) | {second: first for first, second in PAIRS}
SIDES = {"left": "right", "right": "left"}  # of searchsorted
SYMMETRIC = {"min", "max", "minimum", "maximum", "fmin", "fmax", "hypot", "zip"}
NOT_RUN = {"annotation", "returns", "decorator_list", "bases"}


@dataclass(frozen=True)
class Mutant:
    """One change: a field of a node of the tree, or an element of it, is another one."""

    tree: ast.Module
    line: int
    parent: ast.AST
    field: str
    index: int | None
    replacement: Any

    def source(self) -> str:
        """The module's text with the change; the tree is left as it was."""
        before = self._set(self.replacement)
        try:
            return ast.unparse(self.tree)
        finally:
            self._set(before)

    def difference(self) -> str:
        """Lines that went and came, without what is the same; line numbers are of the file."""
        texts = (ast.unparse(self.tree).splitlines(), self.source().splitlines())
        _, _, *lines = difflib.unified_diff(*texts, n=0, lineterm="")
        changed = [f"{line[0]} {line[1:].strip()}" for line in lines if not line.startswith("@@")]
        return f"{self.line}: " + "\n    ".join(changed)

    def _set(self, value: Any) -> Any:
        held = getattr(self.parent, self.field)
        if self.index is None:
            setattr(self.parent, self.field, value)
            return held
        before, held[self.index] = held[self.index], value
        return before


def mutants_of(source: str) -> list[Mutant]:
    """Every mutant of a module's source whose text is one of its own, in order of lines."""
    tree = ast.parse(source)
    promises = _promises(tree)
    seen, found = {ast.unparse(tree)}, []
    for parent, field, index, node in _places(tree):
        for replacement in _replacements(node, promises.get(node, "")):
            line = getattr(node, "lineno", getattr(parent, "lineno", 0))
            mutant = Mutant(tree, line, parent, field, index, replacement)
            text = mutant.source()
            if text not in seen:
                seen.add(text)
                found.append(mutant)
    return sorted(found, key=lambda mutant: mutant.line)


def _places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Parent, field, index and node of all that runs when the module's functions do."""
    for field, value in ast.iter_fields(node):
        if field in NOT_RUN:
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if isinstance(child, ast.AST) and not _is_docstring(child):
                yield node, field, index, child
                yield from _places(child)


def _promises(tree: ast.Module) -> dict[ast.AST, str]:
    """By return statement, the type that its function says it returns."""
    found: dict[ast.AST, str] = {}
    for function in ast.walk(tree):  # those around a function come before it
        if isinstance(function, ast.FunctionDef) and function.returns:
            returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
            found |= dict.fromkeys(returns, ast.unparse(function.returns))
    return found


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _replacements(node: ast.AST, promised: str) -> Iterator[ast.AST]:
    for operator in SWAPPED.get(type(node), ()):
        yield operator()
    match node:
        case ast.Constant(value=bool(flag)):
            yield ast.Constant(not flag)
        case ast.Constant(value=int(number) | float(number)):
            yield ast.Constant(number + 1)
            yield ast.Constant(number - 1)
        case ast.Constant(value=str(text)) if text in SIDES:
            yield ast.Constant(SIDES[text])
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.Name(id=name, ctx=ast.Load()) if name in OPPOSITE:
            yield ast.Name(OPPOSITE[name], ast.Load())
        case ast.Attribute(value=value, attr=name) if name in OPPOSITE:
            yield ast.Attribute(value, OPPOSITE[name], ast.Load())
        case ast.Call(func=func, args=[first, second, *rest], keywords=keywords):
            starred = any(isinstance(one, ast.Starred) for one in (first, second))
            if not starred and _name(func) not in SYMMETRIC:
                yield ast.Call(func, [second, first, *rest], keywords)
        case ast.Slice(lower=lower, upper=upper, step=step):
            if not _is_number(lower):  # which is changed by itself
                yield ast.Slice(_one_more(lower), upper, step)
            if not _is_number(upper):
                yield ast.Slice(lower, _one_less(upper), step)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(_negated(test), body, orelse)
        case ast.If(test=test, body=statements, orelse=others):
            yield ast.If(_negated(test), statements, others)
        case ast.While(test=test, body=statements, orelse=others):
            yield ast.While(_negated(test), statements, others)
        case ast.comprehension(target=target, iter=iterable, ifs=[_, *_]):
            yield ast.comprehension(target, iterable, [], node.is_async)
        case ast.Return(value=ast.expr() as value):
            yield from map(ast.Return, _others(value, promised))
        case ast.Expr() | ast.AugAssign() | ast.Break() | ast.Continue() | ast.Raise():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield ast.Pass()


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _others(value: ast.expr, promised: str) -> Iterator[ast.expr]:
    """Another value of the type that a function promises: what types tell needs no test."""
    if promised.startswith(("float", "int", "Floats", "Ints", "Ranks", "NDArray[np.int")):
        yield ast.BinOp(value, ast.Add(), ast.Constant(1))
    if promised == "bool":
        yield _negated(value)
    if promised.endswith("| None"):
        yield ast.Constant(None)


def _is_number(bound: ast.expr | None) -> bool:
    while isinstance(bound, ast.UnaryOp):
        bound = bound.operand
    return isinstance(bound, ast.Constant)


def _one_more(bound: ast.expr | None) -> ast.expr:
    one = ast.Constant(1)
    return one if bound is None else ast.BinOp(bound, ast.Add(), one)


def _one_less(bound: ast.expr | None) -> ast.expr:
    one = ast.Constant(1)
    return ast.UnaryOp(ast.USub(), one) if bound is None else ast.BinOp(bound, ast.Sub(), one)
