"""Words of a command line: `--config-dir` among them, and texts as Hydra's grammar and the shell read them."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# A text without quotes that Hydra reads as this very text. Its grammar knows letters of ASCII only.
PLAIN_TEXT = re.compile(r"(?!(?:null|true|false|[+-]?(?:inf|nan))\Z)[A-Za-z_/.][\w./-]*", re.ASCII | re.IGNORECASE)
NUMBER_LIKE = re.compile(r"[+-]?(?=\.?\d)[\d_]*\.?[\d_]*(e[+-]?\d[\d_]*)?", re.ASCII | re.IGNORECASE)
QUOTED_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"' + "|" + r"'(?:[^'\\]|\\.)*'", re.DOTALL)

HYDRA_SWEEPS = ("hydra/launcher=", "hydra/sweeper=", "hydra.launcher.", "hydra.sweeper.")


def list_config_dirs(words: Sequence[str]) -> list[str]:
    """Return each `--config-dir` of a command line as `--config-dir=DIR`, however it was typed (`-cd DIR`)."""
    options = []
    for i, word in enumerate(words):
        option, _, value = word.partition("=")
        if option in ("--config-dir", "-cd"):
            options.append(f"--config-dir={value or (words[i + 1] if i + 1 < len(words) else '')}")
    return options


def is_sweep(words: Sequence[str]) -> bool:
    """Return True for a command line with -m, unless it chooses a launcher or a sweeper of Hydra's."""
    return bool({"-m", "--multirun"} & set(words)) and not any(word.startswith(HYDRA_SWEEPS) for word in words)


def is_plain_text(value: str) -> bool:
    """Return True if Hydra reads `value` without quotes as a text, not as a number, a list or something else."""
    return PLAIN_TEXT.fullmatch(value) is not None and NUMBER_LIKE.fullmatch(value) is None


def quote_override(value: str) -> str:
    """Return `value` in double quotes, so that Hydra's override grammar reads it as one string.

    In its quotes a backslash is special only before a quotation mark, or at the end.
    """
    return '"' + re.sub(r'(\\*)("|\Z)', lambda match: 2 * match[1] + match[2].replace('"', '\\"'), value) + '"'


def quote_text(value: str) -> str:
    """Return `value` in double quotes, so that Hydra and OmegaConf read it as this very text: a `${` is one, too."""
    return quote_override(escape_interpolation(value))


def escape_interpolation(value: str) -> str:
    """Return `value` so that OmegaConf takes a `${` in it as text."""
    return re.sub(r"(\\*)\$\{", lambda match: 2 * match[1] + "\\${", value)


def read_text(value: str) -> str:
    """Return the text that Hydra and OmegaConf read from the value of an override, which may be quoted.

    An interpolation stays as it is.
    """
    if not QUOTED_TEXT.fullmatch(value):
        return value
    text = re.sub(rf"(\\+)({value[0]}|\Z)", lambda match: match[1][: len(match[1]) // 2] + match[2], value[1:-1])
    return re.sub(r"((?:\\\\)*)\\\$\{", lambda match: match[1][::2] + "${", text)


def format_value(value: Any) -> str:
    """Return a value as it is typed after `key=`: a text in Hydra's quotes if it needs them, a list in brackets."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    text = str(value)
    return text if is_plain_text(text) else quote_text(text)


def format_command(module: str, options: Mapping[str, Any], words: Iterable[str] = ()) -> str:
    """Return a command that works when it is pasted into a POSIX shell: `python -m sr.predict 'input="my photo.png"'`.

    `options` are values, which are quoted for Hydra, and a `Path` below the working directory is shortened. `words` are
    flags and overrides as they are typed.
    """
    overrides = [f"{key}={format_value(_shorten(value))}" for key, value in options.items()]
    return shlex.join([find_python(), "-m", module, *words, *overrides])


def find_python() -> str:
    """Return how to call this very Python: `python` only if that is the one of the active environment."""
    path = shutil.which("python")
    is_active = path is not None and Path(path).parent == Path(sys.executable).parent
    return "python" if is_active else str(_shorten(Path(sys.executable)))


def _shorten(value: Any) -> Any:
    """Return a path below the working directory as a relative one; every other value as it is."""
    if not isinstance(value, Path) or not value.is_relative_to(Path.cwd()):
        return value
    path = str(value.relative_to(Path.cwd()))
    return f"./{path}" if path.startswith("~") else path  # which is no home folder
