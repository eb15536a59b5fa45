"""Find classes and functions in source files, without importing them: importing torch alone takes seconds."""

import ast
import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sr.runtime.error import UserError

Definition = ast.ClassDef | ast.FunctionDef


class Module(NamedTuple):
    """Holds what the source file of a module binds at its top level."""

    names: dict[str, ast.AST]  # name -> definition, import or assignment
    has_star_import: bool
    package: str  # that relative imports begin from

    @property
    def definitions(self) -> list[str]:
        """The names of its classes and functions."""
        return [name for name, node in self.names.items() if isinstance(node, Definition)]


class Found(NamedTuple):
    """Names the place where a name is bound; `node` is None if the source does not show its value."""

    module: str
    node: ast.AST | None


def find_source(module: str) -> Path | None:
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


def read_module(module: str) -> Module | None:
    """Return the names of a module, or None if it has no Python source."""
    source = find_source(module)
    return _read_file(source, module) if source and source.suffix == ".py" else None


def find_name(module: str, name: str) -> Found | None:
    """Return where `name` of a module is defined, following imports; None if there is no such name."""
    content = read_module(module)
    if content is None:
        return Found(module, None)
    node = content.names.get(name)
    if node is None:
        return Found(module, None) if content.has_star_import else None
    if not isinstance(node, ast.ImportFrom):
        return Found(module, None if isinstance(node, ast.Import) else node)
    home = resolve_import(content, node)
    original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
    if find_source(f"{home}.{original}"):  # a module
        return Found(f"{home}.{original}", None)
    return Found(module, None) if home == module else find_name(home, original) or Found(module, None)


def resolve_import(content: Module, node: ast.ImportFrom) -> str:
    """Return the full name of the module that `from … import` names."""
    if not node.level:
        return node.module or ""
    parents = content.package.split(".")
    return ".".join([*parents[: len(parents) - node.level + 1], *([node.module] if node.module else [])])


@lru_cache
def _read_file(source: Path, module: str) -> Module:
    names: dict[str, ast.AST] = {}
    has_star_import = False
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        place = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{source}{place}: cannot be read as Python ({getattr(error, 'msg', error)})") from None
    for node in _list_statements(tree.body):
        if isinstance(node, Definition):
            names[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            has_star_import |= node.names[0].name == "*"
            names |= {alias.asname or alias.name.partition(".")[0]: node for alias in node.names}
        else:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    package = module if source.name == "__init__.py" else module.rpartition(".")[0]
    return Module(names, has_star_import, package)


def _list_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, and those in its `if`, `try` and `with`."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from _list_statements(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from _list_statements(handler.body)
