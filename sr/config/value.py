"""Compare the value of an option with the annotation of its argument, and explain what is wrong.

pydantic could check as much, but importing it and compiling its schemas takes longer than all checks together, and the
messages would still have to be written here.
"""

import collections.abc
import math
from collections.abc import Callable, Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints, is_typeddict

from annotated_types import DocInfo, Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen, Predicate

from sr.runtime.error import suggest_nearest

MAX_LENGTH = 200  # characters of a value in a message
PHRASES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}
SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}  # text, for Hydra
SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
MAPPINGS = (dict, collections.abc.Mapping)
CONSTRAINTS: dict[type, Callable[[Any, Any], bool]] = {
    Ge: lambda value, limit: value >= limit.ge,
    Gt: lambda value, limit: value > limit.gt,
    Le: lambda value, limit: value <= limit.le,
    Lt: lambda value, limit: value < limit.lt,
    MinLen: lambda value, limit: len(value) >= limit.min_length,
    MaxLen: lambda value, limit: len(value) <= limit.max_length,
    Predicate: lambda value, predicate: predicate.func(value),
}


class WrongValue(NamedTuple):
    """An option whose value cannot be right."""

    key: str  # `model.net.width`
    message: str  # `KEY=VALUE: expected … (found …)`, and what to do


class ObjectKind:
    """The annotation of an argument that is an object: in a config its value is a dictionary, with a `_target_`."""


def find_wrong_value(value: Any, kind: Any, key: str) -> WrongValue | None:
    """Return what is wrong with the value of the option `key`, or None if nothing is.

    `kind` is an annotation: a type, `ObjectKind`, a `Literal`, an `Annotated` with constraints, a sequence, a mapping or a
    `TypedDict`, or a union of these. Of a mapping the entry is named: `model.loss.features.layers.conv1_1`.
    """
    if is_valid(value, kind):
        return None
    for name, item, item_kind in _list_entries(value, kind):
        wrong = find_wrong_value(item, item_kind, f"{key}.{name}".lstrip("."))
        if wrong:
            return wrong
    message = f"expected {describe_kind(kind)} (found {_describe_value(value, kind)}){_advise(value, kind, key)}"
    return WrongValue(key, f"{key}={format_value(value)}: {message}")


def is_valid(value: Any, kind: Any) -> bool:
    """Return True if the value of an option may be passed for an argument annotated with `kind`."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        result = is_valid(value, arguments[0]) and all(_meets(value, constraint) for constraint in arguments[1:])
    elif origin in (Union, UnionType):
        result = any(is_valid(value, member) for member in arguments)
    elif origin is Literal:
        result = any(value == choice and type(value) is type(choice) for choice in arguments)
    elif origin in SEQUENCES:
        kinds = _list_item_kinds(value, kind) if isinstance(value, list) else None
        result = kinds is not None and all(map(is_valid, value, kinds))
    elif origin in MAPPINGS or is_typeddict(kind):
        result = isinstance(value, dict) and all(is_valid(item, of) for _, item, of in _list_entries(value, kind))
    elif kind in (int, float):
        result = _is_number(value) and (kind is float or isinstance(value, int))
    else:
        result = isinstance(value, {ObjectKind: dict}.get(kind, kind if kind in PHRASES else object))
    return result


def format_value(value: Any) -> str:
    """Return a value as it is typed on a command line, shortened if it is long."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        text = f"[{','.join(map(format_value, value))}]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{name}: {format_value(item)}" for name, item in value.items()) + "}"
    else:
        text = str(value)
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"


def describe_kind(kind: Any) -> str:
    """Return what is expected: `a whole number, 1 or more, or null`."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        texts = [constraint.documentation for constraint in arguments[1:] if isinstance(constraint, DocInfo)]
        return texts[-1] if texts else describe_kind(arguments[0]) + _describe_limits(arguments[1:])
    if origin in (Union, UnionType):
        *others, last = sorted(dict.fromkeys(map(describe_kind, _list_members(kind))), key="null".__eq__)
        return f"{', '.join(others)}, or {last}" if others else last
    if origin is Literal:
        words = list(dict.fromkeys(map(format_value, arguments)))
        return f"one of {', '.join(words)}" if len(words) > 1 else words[0]
    if origin in SEQUENCES:
        items = [item for item in arguments[:1] if item is not Any]
        count = f" of {len(arguments)}" if get_origin(kind) is tuple and ... not in arguments else ""
        return f"a list{count}" + "".join(f", each {describe_kind(item)}" for item in items)
    if origin in MAPPINGS or is_typeddict(kind):
        return "names with values" + "".join(f", each {describe_kind(item)}" for item in arguments[1:])
    return "a part" if kind is ObjectKind else PHRASES.get(kind, "another value")


def _list_members(kind: Any) -> list[Any]:
    """Return the members of a union, and of unions in it; any other annotation alone."""
    if get_origin(kind) in (Union, UnionType):
        return [inner for member in get_args(kind) for inner in _list_members(member)]
    return [kind]


def _list_item_kinds(value: Sequence[Any], kind: Any) -> list[Any] | None:
    """Return the annotation of each item of a list; None if another number of items is expected."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple and ... not in arguments:
        return list(arguments) if len(arguments) == len(value) else None
    return [arguments[0] if arguments else Any] * len(value)


def _list_entries(value: Any, kind: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, value and annotation of each entry of a mapping, if that is what `kind` describes."""
    for member in _list_members(kind) if isinstance(value, dict) else ():
        if is_typeddict(member):
            kinds = get_type_hints(member, include_extras=True)
            yield from ((name, value[name], kinds[name]) for name in kinds if name in value)
        elif get_origin(member) in MAPPINGS:
            yield from ((str(name), item, get_args(member)[1]) for name, item in value.items())


def _meets(value: Any, constraint: Any) -> bool:
    if isinstance(constraint, GroupedMetadata):  # several at once
        return all(_meets(value, part) for part in constraint)
    return CONSTRAINTS.get(type(constraint), lambda value, constraint: True)(value, constraint)


def _describe_limits(constraints: Sequence[Any]) -> str:
    """Return the limits of a number: `, 1 or more`, ` above 0`, ` from 0 to 1`."""
    limits: dict[str, Any] = {}
    for constraint in constraints:
        for part in constraint if isinstance(constraint, GroupedMetadata) else [constraint]:
            limits |= {name: getattr(part, name) for name in ("ge", "gt", "le", "lt") if hasattr(part, name)}
    low = f"{limits['ge']}" if "ge" in limits else f"above {limits['gt']}" if "gt" in limits else ""
    high = f"{limits['le']}" if "le" in limits else f"below {limits['lt']}" if "lt" in limits else ""
    if "ge" in limits:
        return f" from {low} to {high}" if high else f", {low} or more"
    high = f"at most {high}" if "le" in limits else high
    return f" {' and '.join(filter(None, (low, high)))}" if low or high else ""


def _describe_value(value: Any, kind: Any) -> str:
    if isinstance(value, list):
        wrong = _find_wrong_item(value, kind)
        return f"{_describe_value(*wrong)} in it" if wrong else f"a list of {len(value)}"
    if isinstance(value, str):
        return f"the text {value!r}" if value else "no text"
    if isinstance(value, dict):
        return "a part" if "_target_" in value else "names with values"
    return f"the number {value}" if _is_number(value) else format_value(value)


def _advise(value: Any, kind: Any, key: str) -> str:
    """Return what to do about a wrong value, `; …`, or the nearest right word, or nothing."""
    wrong_item = _find_wrong_item(value, kind)
    if wrong_item:
        item, item_kind = wrong_item
        is_text = _is_number(item) and str in list_plain_members(item_kind)
        return (
            f'; a text that looks like a number is typed in quotes, "{item}"' if is_text else _suggest_word(*wrong_item)
        )
    kinds = list_plain_members(kind)
    number = _parse_number(value)
    advice = ""
    if _is_number(value) and str in kinds:
        advice = f"; a text that looks like a number is typed in quotes: '{key}=\"{value}\"'"
    elif isinstance(value, float) and value.is_integer() and is_valid(int(value), kind):
        advice = f"; type {key}={int(value)}"
    elif is_valid([value], kind):
        advice = f"; type {key}=[{format_value(value)}]"
    elif ObjectKind in kinds:
        advice = f"; a part is chosen with a slash, {key.replace('.', '/')}=NAME"
    elif bool in kinds and str(value).lower() in SWITCHES:
        advice = f"; type {key}={SWITCHES[value.lower()]}"
    elif number is not None and is_valid(number, kind):
        advice = "; a number is typed without quotes"
    return advice or _suggest_word(value, kind)


def _suggest_word(value: Any, kind: Any) -> str:
    """Return `. Did you mean "…"?` with the nearest right word, or nothing."""
    members = list_plain_members(kind)
    words = ["true", "false"] if bool in members else []
    words += [str(choice) for member in members if get_origin(member) is Literal for choice in get_args(member)]
    return suggest_nearest(value, words).replace(" ", ". ", 1) if isinstance(value, str) else ""


def list_plain_members(kind: Any) -> list[Any]:
    """Return the members of a union without their constraints."""
    return [get_args(member)[0] if get_origin(member) is Annotated else member for member in _list_members(kind)]


def _find_wrong_item(value: Any, kind: Any) -> tuple[Any, Any] | None:
    """Return the first item of a list that is wrong, and its annotation; None if it is the list itself."""
    for member in list_plain_members(kind) if isinstance(value, list) else ():
        kinds = _list_item_kinds(value, member) if (get_origin(member) or member) in SEQUENCES else None
        wrong = [pair for pair in zip(value, kinds or (), strict=False) if not is_valid(*pair)]
        if wrong:
            return wrong[0]
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf  # NaN is not


def _parse_number(text: Any) -> int | float | None:
    """Return the number that a text looks like, or None."""
    try:
        number = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number
