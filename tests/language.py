"""Check the language of code, configuration and documentation: `python tests/language.py [PATH ...]`.

Standard terms instead of a private dialect: see the table in docs/extend.md. `make lint` runs this for the whole tree.
It reports, as `FILE:LINE: rule: text`:

* `term`: a word for which the field has a standard term, in an identifier, comment, docstring, message or document;
* `participle`: a function named by a bare participle (`told`, `held`); a function is a verb with its object;
* `fragment`: a docstring that starts with a fragment (`Of such a …`, `What …`, `Whether …`);
* `duplicate`: two public classes of one name.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sr", "conf", "docs", "README.md", "experiments", "Makefile", "pyproject.toml")

# What is written -> the field's term. Each is a regular expression for one whole word.
TERMS = {
    r"dials?": "option",
    r"tells?|telling|told|hears?|heard|hearing": "log, report, receive",
    r"pictures?|pictured": "image",
    r"keep|keeps|keeper|keeping|kept": "save, store, stay",
    r"enlarge[sdr]?|enlarging|enlargement": "upscale",
    r"alike": "equal, the same",
    r"faults?|faulty": "error, defect",
    r"gone": "terminated, missing",
    r"judge[sd]?|judging|judg?ement": "evaluate, decide, select the best checkpoint",
    r"sought|anew": "search again; reset",
    r"games?|plays?|played|playing|players?": "adversarial training, G and D",
    r"fines?|fined": "penalty",
    r"spoils?|spoilt|spoiled|spoiling": "degraded, corrupted",
    r"chances?": "random state, RNG, probability",
    r"heirs?": "branch",
    r"crews?": "launch",
    r"polite|politely": "signals",
    r"gates?|gated": "fault proxy",
    r"tolls?": "tracking overhead",
    r"gears?": "backend",
    r"races?|racing": "functions",
    r"rivals?": "reference, baseline",
    r"beside": "reference; next to",
    r"subjects?": "predictor",
    r"heaps?": "malloc",
    r"colour\w*": "color",
}
# Places where such a word is the standard one, or belongs to somebody else: (path, text of the line) as regular expressions.
EXCEPTIONS = [
    (r"", r"keepdims?|keep_|KeepAlive"),  # PyTorch's and NumPy's own argument names
]
FRAGMENTS = {
    *"Of What Whatever Whether Where Wherever How When Whenever Which Who Whose Why That Than".split(),
    *"In Into On At By For From With Without Within After Before Between Around As To Until Under Over About Against".split(),
    *"And But Or So Also Not Now Then Here There".split(),
}
# Single words ending in -ed or -ing that are no participles, or name a thing in the field.
NO_PARTICIPLES = {"seed", "embed", "feed", "speed", "string", "thing", "ping", "ring", "padding"}
IRREGULAR = set(
    "told held kept found known seen shown begun gone made drawn given taken written sent lost left met meant understood "
    "said sought bought thought built spent spoilt worn torn grown thrown hidden chosen spoken broken frozen run put".split()
) - {"run", "put"}


def main(paths: list[str]) -> int:
    """Print every finding; return 1 if there is one."""
    found = list(check([Path(p) for p in paths] or [ROOT / name for name in FOLDERS]))
    print("\n".join(found))
    print(f"{len(found)} findings", file=sys.stderr)
    return int(bool(found))


def check(paths: list[Path]) -> Iterator[str]:
    """Yield a line for each finding in the tracked files below `paths`."""
    classes: dict[str, list[str]] = defaultdict(list)
    for path in list_files(paths):
        where = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for number, word, term in find_terms(path.suffix, text):
            line = lines[number - 1]
            if not any(re.search(p, where) and re.search(t, line) for p, t in EXCEPTIONS):
                yield f'{where}:{number}: term: "{word}" ({term}): {line.strip()[:100]}'
        if path.suffix == ".py":
            tree = ast.parse(text)
            yield from (f"{where}:{n}: {rule}: {what}" for n, rule, what in find_names(tree))
            if where.startswith("sr/"):
                for node in tree.body:
                    if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                        classes[node.name].append(f"{where}:{node.lineno}")
    for name, places in classes.items():
        if len(places) > 1:
            yield f"{places[0]}: duplicate: class {name} also in {', '.join(places[1:])}"


def list_files(paths: list[Path]) -> list[Path]:
    """Return the tracked and new text files below `paths`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *map(str, paths)]
    names = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    files = [ROOT / name for name in dict.fromkeys(names)]
    return [
        f for f in files if f.is_file() and f.suffix in (".py", ".yaml", ".md", ".toml", "") and f.name != "language.py"
    ]


def find_terms(suffix: str, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, word, standard term) for each word of the private dialect."""
    patterns = [(re.compile(rf"(?:{pattern})", re.IGNORECASE), term) for pattern, term in TERMS.items()]
    for number, piece in list_pieces(suffix, text):
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", piece):
            for pattern, term in patterns:
                if pattern.fullmatch(word):
                    yield number, word, term


def list_pieces(suffix: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of all that is written for people: of Python its names, strings and comments."""
    if suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT):
            for k, line in enumerate(token.string.splitlines()):
                yield token.start[0] + k, line


def find_names(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield (line, rule, what) for functions named by a participle, and for docstrings that start with a fragment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_participle(node.name):
            yield node.lineno, "participle", f"def {node.name}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            text = ast.get_docstring(node) or ""
            first = re.match(r"\W*(\w+)", text)
            if first and first[1] in FRAGMENTS:
                yield node.body[0].lineno, "fragment", text.splitlines()[0]


def is_participle(name: str) -> bool:
    """Return True for one single word in a past or present participle."""
    word = name.strip("_")
    if "_" in word or word in NO_PARTICIPLES:
        return False
    return word in IRREGULAR or bool(re.search(r"[a-z]{2}(ed|ing)$", word))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
