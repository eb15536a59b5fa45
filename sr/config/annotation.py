"""Read the annotation of an argument from its source file, as far as it says what the value of an option may be."""

import ast
import builtins
import importlib
import typing
from collections.abc import Callable
from functools import lru_cache
from types import NoneType
from typing import Annotated, Any, Literal, NotRequired, Required, Union

from sr.config.source import read_module, resolve_import
from sr.config.value import ObjectKind

# Modules that annotations are made of; to import them is cheap.
VOCABULARY = ("typing", "typing_extensions", "collections.abc", "annotated_types", "sr.runtime.option_types")
# A class of these is an object, and its value in a config a dictionary. One of another package may be made from a plain
# value (an Enum, a path).
LIBRARIES = ("torch.", "torchmetrics.", "pytorch_lightning.", "lightning_fabric.", "schedulefree.")
PLAIN_TYPES = ("bool", "int", "float", "str", "list", "tuple", "dict")


def read_annotation(node: ast.expr | None, module: str) -> Any:
    """Return the annotation that an expression in the source of `module` means; `Any` if it cannot be read."""
    match node:
        case ast.Constant(value=str(text)):
            kind = read_annotation(_parse_expression(text), module)
        case ast.Constant(value=value):
            kind = NoneType if value is None else value  # `...`
        case ast.Name(id=name):
            kind = _read_name(name, module)
        case ast.Attribute(value=parent, attr=name):
            home = _find_module(ast.unparse(parent), module)
            kind = _read_imported_name(name, home) if home else Any
        case ast.BinOp(op=ast.BitOr()):
            kind = Union[read_annotation(node.left, module), read_annotation(node.right, module)]  # noqa: UP007
        case ast.Subscript():
            kind = _read_subscript(node, module)
        case _:
            kind = Any
    return kind


def _parse_expression(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None


@lru_cache
def _read_name(name: str, module: str) -> Any:
    content = read_module(module)
    node = content.names.get(name) if content else None
    match node:
        case None:
            return getattr(builtins, name) if name in PLAIN_TYPES else Any
        case ast.ImportFrom():
            original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
            home = resolve_import(content, node)
            return Any if home == module else _read_imported_name(original, home)
        case ast.ClassDef():
            return ObjectKind if module.startswith("sr.") else Any
        case ast.Assign() | ast.AnnAssign():
            return read_annotation(node.value, module)
    return Any


def _read_imported_name(name: str, home: str) -> Any:
    if home in VOCABULARY:
        kind = getattr(importlib.import_module(home), name, Any)
        return ObjectKind if kind in (Callable, typing.Callable) else kind
    if f"{home}.".startswith(LIBRARIES):  # their files take long to parse, so a class is known by its name
        return ObjectKind if name[0].isupper() and not name.isupper() else Any
    return _read_name(name, home)


def _find_module(path: str, module: str) -> str | None:
    """Return the full name of the module that `path` (`nn`, `torch.nn`) is in the source of `module`."""
    first, _, rest = path.partition(".")
    content = read_module(module)
    node = content.names.get(first) if content else None
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return None
    alias = next(alias for alias in node.names if first in (alias.asname, alias.name.partition(".")[0]))
    name = alias.name if alias.asname or isinstance(node, ast.ImportFrom) else first
    home = f"{resolve_import(content, node)}.{name}" if isinstance(node, ast.ImportFrom) else name
    return f"{home}.{rest}" if rest else home


def _read_subscript(node: ast.Subscript, module: str) -> Any:
    kind = read_annotation(node.value, module)
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if kind in (Any, ObjectKind):
        return kind
    try:
        if kind is Literal:
            return Literal[tuple(ast.literal_eval(item) for item in items)]
        arguments = [read_annotation(item, module) for item in items]
        if kind is Annotated:
            constraints = [_read_constraint(item, module) for item in items[1:]]
            return Annotated[(arguments[0], *(c for c in constraints if c is not None))]
        if kind in (NotRequired, Required):
            return arguments[0]
        return kind[tuple(arguments) if len(arguments) > 1 else arguments[0]]
    except (TypeError, ValueError):  # no annotation
        return Any


def _read_constraint(node: ast.expr, module: str) -> Any:
    """Return the constraint that a call such as `Ge(1)` makes; None if it is not one of annotated-types."""
    if not isinstance(node, ast.Call):
        return None
    kind = read_annotation(node.func, module)
    if getattr(kind, "__module__", "") != "annotated_types":
        return None
    options = {option.arg: ast.literal_eval(option.value) for option in node.keywords}
    return kind(*map(ast.literal_eval, node.args), **options)
