"""What README.md, docs/ and experiments/ tell their readers to type, for the tests that run it."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
STUDIES = sorted((ROOT / "experiments").glob("*/README.md"))

_BLOCK = re.compile(r"(?:`([\w/.]+)`:\n\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(python -m sr\.[^`]+)`")


class Block(NamedTuple):
    """A fenced block."""

    page: Path
    file: str | None  # the name of a file in the line before, "`mine/tiny.py`:", which the block is the content of
    language: str
    text: str


class Command(NamedTuple):
    """One command of a shell block."""

    page: Path
    text: str  # without the comment

    @property
    def words(self) -> list[str]:
        """Return the words as a shell passes them on."""
        return shlex.split(self.text)

    @property
    def name(self) -> str | None:
        """Return the name of the command of sr, as in `python -m sr.NAME`, or None for another program."""
        words = self.words
        is_ours = words[:2] == ["python", "-m"] and words[2].startswith("sr.")
        return words[2].removeprefix("sr.") if is_ours else None


def list_blocks(pages: list[Path]) -> Iterator[Block]:
    """Yield all fenced blocks of these pages."""
    for page in pages:
        for file, language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
            yield Block(page, file or None, language, text)


def list_commands(pages: list[Path], inline: bool = False) -> list[Command]:
    """Return the commands of all shell blocks, each text once; `inline` adds those between single backticks."""
    lines = [(b.page, line) for b in list_blocks(pages) if b.language == "bash" for line in b.text.splitlines()]
    if inline:
        texts = ((page, _BLOCK.sub("", page.read_text(encoding="utf-8"))) for page in pages)
        lines += [(page, " ".join(code.split())) for page, text in texts for code in _INLINE.findall(text)]
    commands: dict[str, Command] = {}
    for page, line in lines:
        for part in re.sub(r"\s+#.*$", "", line).split(" && "):
            commands.setdefault(part.strip(), Command(page, part.strip()))
    return [command for text, command in commands.items() if text]


def write_files(folder: Path) -> None:
    """Write each block that is a file of an example, such as `mine/tiny.py`, below `folder`."""
    for block in list_blocks(PAGES):
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


@cache
def list_messages() -> list[str]:
    """Return all strings in the source of sr, with `…` for what is filled in."""
    texts: list[str] = []
    for path in sorted((ROOT / "sr").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts
