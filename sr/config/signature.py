"""Check the options of each part against the signature of its `_target_`: their names, and their values against the
annotations of the arguments. Both are read from the source file, so that a wrong option is answered at once.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sr.config.annotation import read_annotation
from sr.config.library_options import LIBRARY_OPTIONS
from sr.config.source import Definition, find_name, find_source, read_module
from sr.config.value import WrongValue, find_wrong_value
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.option_types import PositiveFloat

Parameters = dict[str, Any]  # name of an argument -> its annotation


def find_wrong_values(node: Any, stored: Any = None, key: str = "") -> Iterator[WrongValue]:
    """Yield the options whose values do not fit the annotations, of a part and of all parts below it.

    `key` is the place of `node` in the config. A value that is the same in `stored`, the config of a run that is resumed,
    was accepted when that run began. Raise a `UserError` for an option that a part does not take.
    """
    if isinstance(node, list):
        for k, item in enumerate(node):
            yield from find_wrong_values(item, stored[k] if _has_item(stored, k) else None, f"{key}[{k}]")
    if not isinstance(node, dict):
        return
    stored = stored if isinstance(stored, Mapping) else {}
    for name, part in node.items():
        yield from find_wrong_values(part, stored.get(name), f"{key}.{name}".lstrip("."))
    if "_target_" not in node:
        return
    options = {name: value for name, value in node.items() if not name.startswith("_")}
    known = list_parameters(node["_target_"], key, options)
    prefix = next((prefix for prefix in LIBRARY_OPTIONS if node["_target_"].startswith(prefix)), "")
    limits = LIBRARY_OPTIONS.get(prefix, {})
    kinds = {name: limits.get(name, kind) for name, kind in (known or limits).items()}
    if key.startswith("model.loss."):
        kinds = kinds | {"weight": PositiveFloat}  # an option of the weighted sum, not of the loss
    for name, value in options.items():
        if name not in kinds and known is not None:
            raise UserError(
                f'{key} ({node["_target_"]}) has no option "{name}"; it has {", ".join(kinds) or "none"}.'
                f"{suggest_nearest(name, kinds)}"
            )
        wrong = find_wrong_value(value, kinds.get(name, Any), f"{key}.{name}".lstrip("."))
        if wrong and not is_same(name, value, stored):
            yield wrong


def is_same(name: str, value: Any, stored: Mapping[str, Any]) -> bool:
    """Return True if an option has this value in a stored config as well; NaN is the same as NaN."""
    return name in stored and repr(stored[name]) == repr(value)


def list_parameters(target: Any, key: str = "", names: Iterable[str] | None = None) -> Parameters | None:
    """Return the arguments of a class or function; None if the source does not show them (C code, `*args`).

    `key` is the place of the part in the config. Those of base classes may be missing if a class itself has all of
    `names`: the source of Lightning's trainer takes longer to parse than all others together.
    """
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    where = f"{key}._target_={target}".lstrip(".")
    if not name:
        raise UserError(f"{where}: expected the path of a class, such as sr.net.plain.Plain")
    source = find_source(module)
    if source is None:
        raise UserError(f"{where}: there is no module {module}")
    if find_name(module, name) is None:
        raise UserError(
            f"{where}: there is no {name} in {module}.{suggest_nearest(name, read_module(module).definitions)}"
        )
    return _read_parameters(module, name, source, None if names is None else frozenset(names))


def find_kind(target: Any, name: str) -> Any:
    """Return the annotation of an argument of `_target_`; `Any` if it has none, or there is no such target or argument."""
    try:
        return (list_parameters(target, names=[name]) or {}).get(name, Any)
    except UserError:
        return Any


def _has_item(items: Any, k: int) -> bool:
    return isinstance(items, list) and k < len(items)


@lru_cache
def _read_parameters(module: str, name: str, source: Path, names: frozenset[str] | None) -> Parameters | None:
    """Return the parameters of `name` in a module whose file is `source`, at least `names`."""
    found = find_name(module, name)
    if found is None or not isinstance(found.node, Definition):
        return None
    definition, base = found.node, None
    if isinstance(definition, ast.ClassDef):
        base = ast.unparse(definition.bases[0]) if definition.bases else None
        functions = (item for item in definition.body if isinstance(item, ast.FunctionDef))
        definition = next((function for function in functions if function.name == "__init__"), None)
        if definition is None:  # the constructor is inherited
            return _read_inherited(found.module, base, source, names)
    if definition.args.vararg:
        return None
    parameters = _read_arguments(definition, found.module)
    if definition.args.kwarg:  # they go to the base class
        keywords = _read_keywords(definition.args.kwarg.annotation, found.module)
        is_complete = names is not None and names <= {*parameters, *keywords}
        inherited = {} if is_complete else _read_inherited(found.module, base, source, names)
        if inherited is None:
            return None
        parameters |= inherited | keywords
    return parameters


def _read_inherited(module: str, base: str | None, source: Path, names: frozenset[str] | None) -> Parameters | None:
    """Return the parameters of a class whose name in a module is `base`; None: there is no base class."""
    if base in ("nn.Module", "Protocol"):
        return {}
    return _read_parameters(module, base, source, names) if base else None


def _read_arguments(definition: ast.FunctionDef, module: str) -> Parameters:
    arguments = definition.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return {arg.arg: read_annotation(arg.annotation, module) for arg in named if arg.arg != "self"}


def _read_keywords(annotation: ast.expr | None, module: str) -> Parameters:
    """Return the fields of `Keywords` in `**options: Unpack[Keywords]`, a `TypedDict`."""
    if not isinstance(annotation, ast.Subscript) or not isinstance(annotation.slice, ast.Name):
        return {}
    found = find_name(module, annotation.slice.id)
    body = found.node.body if found and isinstance(found.node, ast.ClassDef) else []
    fields = (item for item in body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name))
    return {field.target.id: read_annotation(field.annotation, found.module) for field in fields}
