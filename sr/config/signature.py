"""Check the options of each part against the signature of its `_target_`.

The signature is read from the source file without importing it: importing torch alone takes seconds, and a mistyped
option is to be answered at once.
"""

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

from sr.runtime.error import UserError, suggest_nearest

Definition = ast.ClassDef | ast.FunctionDef


def check_parts(node: Any, key: str = "") -> None:
    """Raise a `UserError` if a part, or a part below it, has an option that its `_target_` does not take.

    `key` is the place of `node` in the config.
    """
    if isinstance(node, list):
        for item in node:
            check_parts(item, key)
    if not isinstance(node, dict):
        return
    for name, part in node.items():
        check_parts(part, f"{key}.{name}".lstrip("."))
    parameters = _list_parameters(node["_target_"], key) if "_target_" in node else None
    if parameters is None:
        return
    if key.startswith("model.loss."):
        parameters = parameters | {"weight": None}  # an option of the weighted sum, not of the loss
    for name in node:
        if not name.startswith("_") and name not in parameters:
            nearest = suggest_nearest(name, parameters)
            raise UserError(
                f'{key} ({node["_target_"]}) has no option "{name}"; it has {", ".join(parameters)}.{nearest}'
            )


def find_annotation(target: str, name: str) -> ast.expr | None:
    """Return the annotation of a parameter of `_target_`; None if it has none, or there is no such target or parameter."""
    try:
        return (_list_parameters(target, "") or {}).get(name)
    except UserError:
        return None


def _list_parameters(target: str, key: str) -> dict[str, ast.expr | None] | None:
    """Return the parameters of a class or function with their annotations.

    None if the source does not show them (C code, `*args`).
    """
    module, _, name = target.rpartition(".")
    if _find_source(module) is None:
        raise UserError(f"{key}._target_={target}: there is no module {module or target}")
    home, definition = _find_definition(module, name)
    if home is None:
        nearest = suggest_nearest(name, _list_definitions(module))
        raise UserError(f"{key}._target_={target}: there is no {name} in {module}.{nearest}")
    base = None
    if isinstance(definition, ast.ClassDef):
        base = definition.bases[0] if definition.bases else None
        base = f"{home}.{base.id}" if isinstance(base, ast.Name) else None
        functions = (item for item in definition.body if isinstance(item, ast.FunctionDef))
        definition = next((function for function in functions if function.name == "__init__"), None)
        if definition is None and base:  # the constructor is inherited
            return _list_parameters(base, key)
    if definition is None or definition.args.vararg:
        return None
    arguments = definition.args
    all_arguments = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    parameters = {arg.arg: arg.annotation for arg in all_arguments if arg.arg != "self"}
    if not arguments.kwarg:
        return parameters
    inherited = _list_parameters(base, key) if base else None  # **kwargs go to the base class
    return None if inherited is None else parameters | inherited


def _find_definition(module: str, name: str) -> tuple[str | None, Definition | None]:
    """Return the module in which `name` is defined, and its definition, following imports.

    The definition is None if it cannot be followed; the module is None as well if there is no such name.
    """
    tree = _parse(module)
    if tree is None:
        return module, None
    for node in tree.body:
        if isinstance(node, Definition) and node.name == name:
            return module, node
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find_definition(node.module, alias.name)
        elif isinstance(node, ast.Assign | ast.Import | ast.ImportFrom) and name in ast.unparse(node):
            return module, None
    has_star_import = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree))
    return (module, None) if has_star_import else (None, None)


def _list_definitions(module: str) -> list[str]:
    tree = _parse(module)
    return [node.name for node in tree.body if isinstance(node, Definition)] if tree else []


@lru_cache
def _parse(module: str) -> ast.Module | None:
    """Return the syntax tree of a module, or None if it has no Python source."""
    source = _find_source(module)
    return ast.parse(source.read_text(encoding="utf-8")) if source and source.suffix == ".py" else None


def _find_source(module: str) -> Path | None:
    """Return the file of a module without importing it or its parents, or None if there is no such module."""
    package, *names = module.split(".")
    try:
        spec = importlib.util.find_spec(package) if package else None
    except (ImportError, ValueError):
        return None
    if spec is None or not names:
        return Path(spec.origin or "built-in") if spec else None
    for folder in spec.submodule_search_locations or []:
        base = Path(folder, *names)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.exists():
                return path
    return None
