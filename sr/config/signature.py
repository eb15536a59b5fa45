"""Check the keys of each part against the signature of its `_target_`, read from the source without importing it."""

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

from sr.runtime.error import UserError, suggest_nearest


def check_parts(node: Any, key: str = "") -> None:
    """Every key beside a `_target_` must be one that the target takes; read from its source, without importing it."""
    if isinstance(node, list):
        for item in node:
            check_parts(item, key)
    if not isinstance(node, dict):
        return
    for name, part in node.items():
        check_parts(part, f"{key}.{name}".lstrip("."))
    takes = _parameters(node["_target_"], key) if "_target_" in node else None
    if takes is not None and key.startswith("model.loss."):
        takes = [*takes, "weight"]  # of the term in the sum
    for name in node:
        if takes is not None and not name.startswith("_") and name not in takes:
            raise UserError(
                f'{key} ({node["_target_"]}) has no dial "{name}"; it has {", ".join(takes)}.{suggest_nearest(name, takes)}'
            )


def _parameters(target: str, key: str) -> list[str] | None:
    """The parameters of a class or function, read from its source; None where only an import could tell."""
    module, _, name = target.rpartition(".")
    if _source(module) is None:
        raise UserError(f"{key}._target_={target}: there is no module {module or target}")
    where, found = _definition(module, name)
    if found is None and where is None:
        raise UserError(
            f"{key}._target_={target}: there is no {name} in {module}.{suggest_nearest(name, _names(module))}"
        )
    bases = found.bases if isinstance(found, ast.ClassDef) else []
    inherited = f"{where}.{bases[0].id}" if bases and isinstance(bases[0], ast.Name) else None
    if isinstance(found, ast.ClassDef):
        found = next((n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if found is None and inherited:  # without a constructor of its own
            return _parameters(inherited, key)
    if found is None or found.args.vararg:
        return None
    names = [
        arg.arg for arg in (*found.args.posonlyargs, *found.args.args, *found.args.kwonlyargs) if arg.arg != "self"
    ]
    if not found.args.kwarg:
        return names
    more = _parameters(inherited, key) if inherited else None
    return None if more is None else [*names, *more]


def _definition(module: str, name: str) -> tuple[str | None, ast.ClassDef | ast.FunctionDef | None]:
    """Where `name` is defined, and its definition, following imports. (module, None): it cannot be followed;
    (None, None): there is no such name."""
    tree = _tree(module)
    if tree is None:
        return module, None
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _definition(node.module, alias.name)
        elif isinstance(node, ast.Assign | ast.Import | ast.ImportFrom) and name in ast.unparse(node):
            return module, None
    stars = any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in ast.walk(tree))
    return (module, None) if stars else (None, None)


def _names(module: str) -> list[str]:
    tree = _tree(module)
    return [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)] if tree else []


@lru_cache
def _tree(module: str) -> ast.Module | None:
    source = _source(module)
    return ast.parse(source.read_text(encoding="utf-8")) if source and source.suffix == ".py" else None


def _source(module: str) -> Path | None:
    """The file of a module, found without importing it or its parents: torch alone would take seconds."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first) if first else None
    except (ImportError, ValueError):
        return None
    if spec is None or not rest:
        return Path(spec.origin or "built-in") if spec else None
    for place in spec.submodule_search_locations or []:
        base = Path(place, *rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.exists():
                return path
    return None
