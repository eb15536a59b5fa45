"""Quote the paths, addresses and names on a command line, as Hydra's grammar requires.

For the shell `input=[scan] 01.png` is one word, but Hydra reads `[` as the beginning of a list. What a text is, the
signature of the part says that takes the option (`sr.config.option_type`).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from sr.config.command_line import (
    NUMBER_LIKE,
    QUOTED_TEXT,
    is_plain_text,
    list_config_dirs,
    quote_override,
    quote_text,
)
from sr.config.option_type import OptionType, find_option_type
from sr.config.schema import find_conf_dir

FLAGS_WITH_VALUE = (
    "--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p", "--cfg", "-c",
    "--experimental-rerun",
)  # fmt: skip
MULTIRUN_FLAGS = {"-m", "--multirun"}
SWEEP_FUNCTION = re.compile(r"(choice|glob|interval|range|shuffle|sort|tag)\(.*\)", re.DOTALL)  # of Hydra
OPENING, CLOSING = "([{", ")]}"


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of a command line, with their values, and its overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word.startswith("-"):
            flags.append(word)
            if word in FLAGS_WITH_VALUE:
                flags += [value for value in [next(remaining, None)] if value is not None]
        else:
            overrides.append(word)
    return flags, overrides


def quote_words(words: Sequence[str], command: str) -> list[str]:
    """Return a command line as Hydra's parser requires it: flags before overrides, texts in quotes.

    With `-m` a comma separates two values, unless there is a file of the whole name.
    """
    flags, overrides = split_words(words)
    folders = [option.partition("=")[2] for option in list_config_dirs(flags)]
    is_sweep = bool(MULTIRUN_FLAGS & set(flags))
    return [*flags, *(_quote_word(word, command, folders, is_sweep) for word in overrides)]


def _quote_word(word: str, command: str, config_dirs: list[str], is_sweep: bool) -> str:
    """Quote the value of an override if it is a text that Hydra would read as something else."""
    key, equals, value = word.partition("=")
    name = key.lstrip("+~")
    if not equals or not value or is_plain_text(value) or QUOTED_TEXT.fullmatch(value) or value.lower() == "null":
        return word
    folders = [find_conf_dir(), *map(Path, config_dirs)]
    is_group = "/" in name or any((folder / name).is_dir() for folder in folders)
    if is_group or "@" in name or name.startswith("hydra."):
        return word
    option = find_option_type(name, command, config_dirs)
    exists = _exists(value)
    if option is None:  # an option of a user's own part without annotations, or one that is null without a value
        option = OptionType(takes_text=exists or not _can_parse(value), takes_list=False)
    if is_sweep and not exists:
        items = split_items(value) or [value]
        return f"{key}={','.join(item if _is_sweep(item) else _quote_value(item, option) for item in items)}"
    return f"{key}={_quote_value(value, option, exists)}"


def _quote_value(value: str, option: OptionType, exists: bool = False) -> str:
    """Quote one value, or the items of a list unless it is the name of a file."""
    value = value if exists else value.strip()
    items = split_items(value[1:-1]) if value[:1] == "[" and value[-1:] == "]" and not exists else None
    if option.takes_list and items is not None:
        return f"[{','.join(map(_quote_item, items))}]"
    is_read_as_text = is_plain_text(value) or QUOTED_TEXT.fullmatch(value) or value.lower() == "null"
    # A single name where a list is expected is quoted too: the message about it quotes the whole name.
    takes_text = option.takes_text or (option.takes_list and "," not in value and value[:1] != "[")
    if is_read_as_text or not takes_text:
        return value
    return quote_text(value) if exists else quote_override(value)


def _quote_item(item: str) -> str:
    """Quote an item of a list; numbers and lists stay."""
    is_read = is_plain_text(item) or QUOTED_TEXT.fullmatch(item) or NUMBER_LIKE.fullmatch(item)
    return item if is_read or not item or item[0] in "[{" else quote_override(item)


def split_items(text: str) -> list[str] | None:
    """Split at the commas that are not within quotation marks or brackets; None if brackets do not match."""
    items, depth, position = [""], 0, 0
    while position < len(text):
        quoted = QUOTED_TEXT.match(text, position) if not items[-1].strip() else None
        if quoted:
            items[-1] += quoted[0]
            position = quoted.end()
            continue
        character = text[position]
        position += 1
        depth += (character in OPENING) - (character in CLOSING)
        if depth < 0:
            return None
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return None if depth else [item.strip() for item in items] if text.strip() else []


def _exists(value: str) -> bool:
    """Return True if there is a file or folder of this name."""
    try:
        return Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long a name, an unknown user's home, a null character
        return False


def _is_sweep(value: str) -> bool:
    return SWEEP_FUNCTION.fullmatch(value) is not None and _can_parse(value)


def _can_parse(value: str) -> bool:
    """Return True if Hydra can read the value as it is."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_rule(f"key={value}", "override")
    except HydraException:
        return False
    return True
