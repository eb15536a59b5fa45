"""The text of `--help`: the options of a command with their present values, explained by the comments of `conf/`.

`conf/hydra/help/COMMAND.yaml` holds what is written by hand: the usage, the options that are used most, and notes.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sr.config.command_line import format_value
from sr.config.schema import find_conf_dir

HELP_FLAGS = {"--help", "-h"}
WIDTH = 80  # columns
COMMENT_COLUMN = 32
MAX_VALUE_LENGTH = 44  # a longer value is cut
HEAD = re.compile(r"\A(?:# @package .*\n)?((?:#.*\n)+)")
LINE = re.compile(r"( *)(- )?(?:override )?/?([\w/@]+):(?: |$)(?:.*?\s)??(?:# (.*))?$")


class ConfigFile(NamedTuple):
    """The comments of a YAML, and the names of the files that it begins with."""

    description: str  # the comment at the head of the file
    comments: dict[str, str]  # by dotted key, or by the name of a group in its defaults
    bases: list[str]
    combined_groups: list[str]  # the groups in its defaults of which several choices may be taken: `loss`


class ConfigPart(NamedTuple):
    """A part of the composed config: the command's own options, or those of a config group."""

    group: str  # "" for the command's own
    choice: str  # as it is typed: `plain`, `[l1,fft]`
    package: str  # the dotted key of the part
    files: list[ConfigFile]  # that describe it, those of more special ones first
    choices: list[str]  # of the group


def format_help(command: str, cfg: DictConfig, hydra_cfg: DictConfig) -> str:
    """Return the help of a command, in 80 columns, for the config that was composed from the command line."""
    folders = [Path(s.path) for s in hydra_cfg.runtime.config_sources if s.schema == "file"]
    folders = [*folders, *({find_conf_dir()} - set(folders))]
    written = _read_help_file(command, folders)
    parts = list(_list_parts(command, cfg, hydra_cfg.runtime.choices, folders))
    options, purposes = _list_options(cfg, parts), _list_purposes(parts)
    blocks = [written["usage"].rstrip()]
    groups = [part for part in parts if part.group]
    main = [name for name in written["main"] if name in options or name in {part.group for part in groups}]
    if main:
        choices = {part.group: part.choice for part in groups}
        lines = [_format_option(n, *options[n]) if n in options else _format_option(n, choices[n], purposes.get(n, ""))
                 for n in main]  # fmt: skip
        blocks.append("Used most:\n\n" + "\n".join(lines))
    if groups:
        blocks.append("Groups (group=choice), with what is chosen now:\n\n" + "\n".join(
            _format_group(part, purposes.get(part.group, "")) for part in groups if "@" not in part.group))  # fmt: skip
    blocks.append("All options (key=value), with their values now:")
    for part in parts:
        lines = [_format_option(key, *option) for key, option in options.items() if _find_part(key, parts) is part]
        heading = _format_heading(part) if part.group else f"sr.{command}:"
        blocks += ["\n".join([heading, *lines])] if lines else []
    return "\n\n".join([*blocks, written["notes"].rstrip()]).rstrip() + "\n"


def _read_help_file(command: str, folders: list[Path]) -> dict[str, Any]:
    """Return what is written by hand for a command, or if there is nothing, for all commands."""
    files = [folder / "hydra" / "help" / f"{name}.yaml" for name in (command, "_command") for folder in folders]
    content = yaml.safe_load(next(file for file in files if file.exists()).read_text(encoding="utf-8"))
    texts = {key: str(content.get(key, "")).replace("COMMAND", command) for key in ("usage", "notes")}
    return texts | {"main": content.get("main", [])}


def _list_parts(
    command: str, cfg: DictConfig, choices: Mapping[str, str | None], folders: list[Path]
) -> Iterator[ConfigPart]:
    """Yield the parts of the config: the command's own options, then its groups, each before those within it."""
    own = ConfigPart("", "", "", _read_files(command, folders), [])
    yield own
    combined = {name for file in own.files for name in file.combined_groups}
    folders_of_groups = {path.relative_to(folder) for folder in folders for path in folder.rglob("*") if path.is_dir()}
    for group in sorted({*map(str, folders_of_groups), *choices}, key=_name_package):
        folder, package = group.partition("@")[0], _name_package(group)
        names = sorted({path.stem for base in folders for path in (base / folder).glob("[!_]*.yaml")})
        node = OmegaConf.select(cfg, package, throw_on_resolution_failure=False)
        is_combination = isinstance(node, DictConfig) and bool(node) and set(node) <= set(names)
        if group.split("/")[0] == "hydra" or not (group in choices or group in combined or is_combination):
            continue
        if group in choices:
            found = [choices[group] or "null"]
        else:  # Hydra does not name such choices, but each has its own name in the config
            combined.add(group)
            found = [name for name in node or {} if name in names]
        files = [file for name in found for file in _read_files(f"{folder}/{name}", folders)]
        combined |= {f"{folder}/{name}" for file in files for name in file.combined_groups}
        choice = f"[{','.join(found)}]" if group in combined else found[0]
        yield ConfigPart(group, choice, package, files, names)


def _name_package(group: str) -> str:
    """Return the key of a group in the config: `model.net` of `model/net`."""
    return group.partition("@")[2] or group.replace("/", ".")


def _read_files(name: str, folders: list[Path]) -> list[ConfigFile]:
    """Read `conf/NAME.yaml` and the files of its folder that it begins with."""
    path = next((folder / f"{name}.yaml" for folder in folders if (folder / f"{name}.yaml").exists()), None)
    if path is None:
        return []
    file = _read_file(path)
    parent = name.rpartition("/")[0]
    bases = [base for name in file.bases for base in _read_files(f"{parent}/{name}".lstrip("/"), folders)]
    return [file, *bases]


@lru_cache
def _read_file(path: Path) -> ConfigFile:
    """Read the comments of a YAML: behind an option, or in the lines before it."""
    text = path.read_text(encoding="utf-8")
    head = HEAD.match(text)
    description = " ".join(line.lstrip("# ") for line in head[1].splitlines()) if head else ""
    comments: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    before: list[str] = []  # the lines of a comment before an option
    key, column = "", -1  # of the last comment behind an option; a line that begins there continues it
    for line in text[head.end() if head else 0 :].splitlines():
        match = LINE.match(line)
        if match is None:
            is_comment = line.lstrip().startswith("#")
            if is_comment and line.index("#") == column:
                comments[key] += f" {line.lstrip('# ')}"
            else:
                before = [*before, line.lstrip("# ")] if is_comment else []
            continue
        indent, dash, name, comment = match.groups()
        parents = [parent for parent in parents if parent[0] < len(indent)]
        key = name if dash else ".".join([*(parent for _, parent in parents), name])
        comments[key] = comment or " ".join(before)
        column = match.start(4) - 2 if comment else -1
        parents, before = [*parents, (len(indent), name)], []
    defaults = (yaml.safe_load(text) or {}).get("defaults") or []
    bases = [entry for entry in defaults if isinstance(entry, str) and entry != "_self_"]
    combined = [
        name for entry in defaults if isinstance(entry, dict) for name, v in entry.items() if isinstance(v, list)
    ]
    return ConfigFile(description, comments, bases, combined)


def _list_purposes(parts: list[ConfigPart]) -> dict[str, str]:
    """Return what each group is for: its comment in the defaults list of the file that contains it."""
    purposes: dict[str, str] = {}
    for part in parts:
        for file in part.files:
            for name, comment in file.comments.items():
                group = f"{part.group}/{name}".lstrip("/")
                if comment and group not in purposes:
                    purposes[group] = comment
    return purposes


def _find_part(key: str, parts: list[ConfigPart]) -> ConfigPart:
    """Return the innermost part that an option belongs to."""
    return max(
        (p for p in parts if f"{key}.".startswith(f"{p.package}.") or not p.package), key=lambda p: len(p.package)
    )


def _list_options(cfg: DictConfig, parts: list[ConfigPart]) -> dict[str, tuple[str, str]]:
    """Return value and comment of all options but those that only refer to another one."""
    options = {}
    for key, value in _flatten(OmegaConf.to_container(cfg, resolve=False)):
        part = _find_part(key, parts)
        relative = key.removeprefix(part.package).lstrip(".")
        comment = next((f.comments[relative] for f in part.files if f.comments.get(relative)), "")
        is_reference = isinstance(value, str) and value.startswith("${") and not value.startswith("${oc.env:")
        if not is_reference or comment:
            options[key] = (_format_value(cfg, key, value), comment)
    return options


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of all options. A dictionary is one value unless it is a part, or contains parts."""
    for name, value in node.items():
        items = value.values() if isinstance(value, dict) else ()
        if items and (not prefix or "_target_" in value or any(isinstance(item, dict) for item in items)):
            yield from _flatten(value, f"{prefix}{name}.")
        elif not str(name).startswith("_") and value != {}:
            yield f"{prefix}{name}", value


def _format_value(cfg: DictConfig, key: str, value: Any) -> str:
    """Return a value as it is typed, with interpolations filled in if that is possible."""
    if isinstance(value, str) and "${" in value:
        try:
            value = OmegaConf.select(cfg, key)
        except OmegaConfBaseException:
            return value
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return f"[…]  ({len(value)} parts)"
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{name}: {format_value(item)}" for name, item in value.items()) + "}"
    else:
        text = value if isinstance(value, str) else format_value(value)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}…"


def _format_option(key: str, value: str, comment: str) -> str:
    return _format_columns(f"  {key}={value}", comment)


def _format_group(part: ConfigPart, purpose: str) -> str:
    choices = textwrap.fill(", ".join(part.choices), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"{_format_option(part.group, part.choice, purpose)}\n{choices}"


def _format_heading(part: ConfigPart) -> str:
    text = part.files[0].description if part.files and not part.choice.startswith("[") else ""
    return textwrap.fill(f"{part.group}={part.choice}: {text}".removesuffix(": "), WIDTH)


def _format_columns(left: str, right: str) -> str:
    """Return two columns; the right one begins on the next line if the left one is too wide."""
    indent = " " * COMMENT_COLUMN
    left = left if len(left) <= WIDTH else f"{left[: WIDTH - 1]}…"
    lines = textwrap.wrap(right, WIDTH, initial_indent=indent, subsequent_indent=indent)
    if lines and len(left) <= COMMENT_COLUMN - 2:
        lines[0] = left + lines[0][len(left) :]
        return "\n".join(lines)
    return "\n".join([left, *lines])
