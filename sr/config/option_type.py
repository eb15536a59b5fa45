"""Find out whether an option takes text, from its value in `conf/` and the annotation in the signature of its `_target_`.

Text is a path, an address or a name. Its characters have no meaning for Hydra, so `sr.config.quoting` quotes it.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints, is_typeddict

import yaml

from sr.config import options
from sr.config.command_line import NUMBER_LIKE
from sr.config.schema import find_conf_dir
from sr.config.signature import find_kind
from sr.config.value import SEQUENCES, list_plain_members

TEXT, LIST, OTHER = "text", "list", "other"


class OptionType(NamedTuple):
    """The values that an option takes: a text, a list of texts, or either; an option for numbers takes neither."""

    takes_text: bool
    takes_list: bool


NO_TEXT = OptionType(False, False)


def find_option_type(key: str, command: str, config_dirs: Sequence[str] = ()) -> OptionType | None:
    """Return what the option `key` (`data.path`) of a command takes; None if neither `conf/` nor a signature says it.

    `config_dirs` are the folders of `--config-dir`. The choices of groups do not matter: an option that two parts have
    takes text only if it does in both.
    """
    folders = [find_conf_dir(), *map(Path, config_dirs)]
    kinds = set().union(*_read_kinds(key.split("."), command, folders))
    if not kinds:
        return None
    return NO_TEXT if OTHER in kinds else OptionType(TEXT in kinds, LIST in kinds)


def takes_several(key: str, command: str) -> bool:
    """Return True if an option of a command, not of a part, takes a list of anything: text, or numbers."""
    members = list_plain_members(_find_command_annotation(command, key.split(".")))
    return any((get_origin(member) or member) in SEQUENCES for member in members)


def _read_kinds(path: list[str], command: str, folders: list[Path]) -> Iterator[set[str]]:
    """Yield what each file of `conf/` says about the option at `path`, as a set of `TEXT`, `LIST` and `OTHER`."""
    # A file of the folder `model/net` sets the options below `model.net`; one that sets several parts names them first.
    for length in range(len(path) - 1, 0, -1):
        for folder in (folder.joinpath(*path[:length]) for folder in folders):
            for file in folder.glob("*.yaml") if folder.is_dir() else ():
                yield _read_kind_in_file(file, path[length:])
    yield _classify_annotation(_find_command_annotation(command, path))
    for folder in folders:
        yield from (_read_kind_in_file(file, path) for file in _list_command_files(folder, command))


def _list_command_files(folder: Path, command: str) -> list[Path]:
    """Return the primary config of a command, and those that it contains: `bench` begins with all of `run`."""
    file = folder / f"{command}.yaml"
    if not file.is_file():
        return []
    names = [name for name in _load(file).get("defaults") or [] if isinstance(name, str) and name != "_self_"]
    return [file, *(base for name in names for base in _list_command_files(folder, name))]


def _read_kind_in_file(file: Path, path: list[str]) -> set[str]:
    """Return the kind of the option at `path` of a file, from the signature if its part has one, or else from its value."""
    node: Any = _load(file)
    for name in path[:-1]:
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        return set()
    target = node.get("_target_")
    kinds = _classify_annotation(find_kind(target, path[-1])) if target is not None else set()
    if kinds:
        return kinds
    return _classify_value(node[path[-1]]) if path[-1] in node else set()


def _classify_value(value: Any) -> set[str]:
    """Return the kind of a value in `conf/`; null says nothing, and neither does a part."""
    if value is None or isinstance(value, dict):
        return set()
    if isinstance(value, list):
        return {LIST if all(isinstance(item, str) for item in value) else OTHER}
    is_reference = isinstance(value, str) and value.startswith("${") and not value.startswith("${oc.env:")
    # For PyYAML, unlike OmegaConf, `1e-4` without a dot is a text.
    is_text = isinstance(value, str) and not NUMBER_LIKE.fullmatch(value)
    return set() if is_reference else {TEXT if is_text else OTHER}


def _classify_annotation(kind: Any) -> set[str]:
    """Return the kinds of an annotation; null, and what is not known, are no kind."""
    kinds = set()
    for member in list_plain_members(kind):
        if (get_origin(member) or member) in SEQUENCES:
            items = map(_classify_annotation, get_args(member))
            kinds.add(LIST if all(TEXT in item or not item for item in items) else OTHER)
        elif member not in (Any, NoneType):
            kinds.add(TEXT if member is str else OTHER)
    return kinds


def _find_command_annotation(command: str, path: list[str]) -> Any:
    """Return the annotation of an option that belongs to no part; `Any` if it does not have one."""
    kind = getattr(options, f"{command.title()}Options", options.RunOptions)
    for name in path:
        kind = get_type_hints(kind, include_extras=True).get(name, Any) if is_typeddict(kind) else Any
    return kind


@lru_cache
def _load(file: Path) -> dict[str, Any]:
    """Return the content of a YAML file; of a damaged one, which Hydra reports, an empty dictionary."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
