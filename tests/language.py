"""Check the language of code, configuration and documentation: `python tests/language.py [PATH ...]`.

Standard terms instead of a private dialect: see the table in docs/extend.md. `make lint` runs this for the whole tree.
It reports, as `FILE:LINE: rule: text`:

* `term`: a word for which the field has a standard term, in an identifier, comment, docstring, message or document;
* `spelling`: British spelling;
* `participle`: a function that is named by a bare participle (`told`, `held`); a function is a verb with its object;
* `fragment`: a docstring that starts with a fragment (`Of such a …`, `What …`, `Whether …`);
* `duplicate`: two public classes of one name in `sr/`.

Words that are struck out in a document, `~~dial~~`, are not reported.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sr", "conf", "docs", "README.md", "experiments", "Makefile", "pyproject.toml", ".ci")
SUFFIXES = (".py", ".yaml", ".md", ".toml", "")

# What is written -> the field's term. Each is a regular expression for one whole word.
TERMS = {
    r"dials?": "option",
    r"tells?|telling|told|hears?|heard|hearing": "log, report, receive",
    r"pictures?|pictured": "image",
    r"keep|keeps|keeper|keeping|kept": "save, store, stay",
    r"enlarge[sdr]?|enlarging|enlargements?": "upscale",
    r"alike": "equal, the same",
    r"faults?|faulty": "error, defect",
    r"gone": "terminated, missing",
    r"judge[sd]?|judging|judge?ments?": "evaluate, decide, select the best checkpoint",
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
}
BRITISH = {
    r"(\w*)colour(\w*)": r"\1color\2",
    r"(un)?(normal|initial|recogn|general|optim|minim|maxim|quant|serial|summar|organ|visual|penal|regular|equal|random|"
    r"synchron|special|real|util|custom|character|parameter|vector|harmon|stabil|pixel)is(e|es|ed|er|ers|ing|ation|ations)":
    r"\1\2iz\3",
    r"(behavi|neighb|fav|hum|lab)our(\w*)": r"\1or\2",
    r"centre(s|d)?": r"center\1",
    r"centring": "centering",
    r"grey(s|scale)?": r"gray\1",
    r"licence(s|d)?": r"license\1",
    r"(label|model|cancel|travel|signal|level)l(ed|ing|er|ers)": r"\1\2",
    r"(cata|dia)logue(s)?": r"\1log\2",
    r"(paral|ana)lyse(s|d)?": r"\1lyze\2",
    r"artefact(s)?": r"artifact\1",
    r"(de|of)fence(s)?": r"\1fense\2",
    r"whilst": "while",
}  # fmt: skip
FRAGMENTS = {
    *"Of What Whatever Whether Where Wherever How When Whenever Which Who Whose Why That Than".split(),
    *"In Into On At By For From With Without Within After Before Between Around As To Until Under Over About Against".split(),
    *"And But Or So Also Not Now Then Here There".split(),
}
# Single words ending in -ed or -ing that are no participles, or name a thing in the field.
NO_PARTICIPLES = {"seed", "embed", "feed", "speed", "string", "thing", "ping", "ring", "padding"}
IRREGULAR = set(
    "told held kept found known seen shown begun gone made drawn given taken written sent lost left met meant understood "
    "said sought bought thought built spent spoilt worn torn grown thrown hidden chosen spoken broken frozen".split()
)
STRUCK_OUT = re.compile(r"~~.*?~~")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
TEXT_TOKENS = {tokenize.NAME, tokenize.STRING, tokenize.COMMENT}
TEXT_TOKENS |= {getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # Python 3.12 and later split f-strings


class Allowed(NamedTuple):
    """A place where such a word is the right one. `path` and `line` are regular expressions, searched for."""

    path: str
    line: str
    reason: str


EXCEPTIONS = [
    Allowed(r"^sr/config/renamed\.py$", r'": "', "names of earlier versions"),
    Allowed(r"^experiments/speed/README\.md$|^tests/test_malloc", r"page.faults", "term of operating systems"),
    Allowed(
        r"^conf/data/degrade/|^sr/degrade/resample|test_degrade", r"\bkeep\b", "Real-ESRGAN's word for a factor of 1"
    ),
    Allowed(r"", r"(?i)fault.?proxy", "a proxy that injects faults: the term for it"),
    Allowed(
        r"^sr/bench\.py$|test_bench",
        r"RENAMED_PARTS|gear",
        "a name of earlier versions",
    ),
    Allowed(r"^(sr/sweep/study|experiments/tpe_or_random/report)\.py$", r"study\.tell", "a method of Optuna"),
    Allowed(r"", r"too few images to tell", "the words of a verdict"),
    Allowed(r"^docs/extend\.md$", r"`KEPT`", "what import-linter prints"),
    Allowed(r"^sr/serving/", r"timeout_keep_alive", "an argument of uvicorn"),
    Allowed(r"^sr/exporter/onnx\.py$", r"keep_io_types", "an argument of onnxruntime"),
    Allowed(r"^sr/benchmark/basicsr_options\.py$", r"dataset_enlarge_ratio", "an option of BasicSR"),
    Allowed(r"^sr/callback/alarms\.py$", r'"told"', "a key in checkpoints of all versions"),
    Allowed(r"^sr/callback/checkpointing\.py$", r'chance=|"chance"', "a key in checkpoints of all versions"),
]


def main(paths: list[str]) -> int:
    """Print every finding; return 1 if there is one."""
    findings = list(check([Path(p) for p in paths] or [ROOT / name for name in FOLDERS]))
    print("\n".join(findings), end="\n" * bool(findings))
    print(f"{len(findings)} findings", file=sys.stderr)
    return int(bool(findings))


def check(paths: list[Path], root: Path = ROOT, exceptions: list[Allowed] | None = None) -> Iterator[str]:
    """Yield a line for each finding in the files of a git checkout below `paths`."""
    classes: dict[str, list[str]] = defaultdict(list)
    for path in list_files(paths, root):
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        lines = text.splitlines()
        allowed = [a for a in (EXCEPTIONS if exceptions is None else exceptions) if re.search(a.path, name)]
        for number, rule, finding in find_words(path.suffix, text):
            line = lines[number - 1]
            if not any(re.search(a.line, line) for a in allowed):
                yield f"{name}:{number}: {rule}: {finding}: {line.strip()[:100]}"
        if path.suffix == ".py":
            tree = ast.parse(text)
            yield from (f"{name}:{number}: {rule}: {what}" for number, rule, what in find_names(tree))
            if name.startswith("sr/"):
                for node in tree.body:
                    if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                        classes[node.name].append(f"{name}:{node.lineno}")
    for name, places in classes.items():
        if len(places) > 1:
            yield f"{places[0]}: duplicate: class {name} also in {', '.join(places[1:])}"


def list_files(paths: list[Path], root: Path) -> list[Path]:
    """Return the tracked and the new text files below `paths`, without this one, which lists the words."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *map(str, paths)]
    names = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.splitlines()
    files = [root / name for name in dict.fromkeys(names)]
    return [f for f in files if f.is_file() and f.suffix in SUFFIXES and f.name != "language.py"]


def find_words(suffix: str, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, rule, finding) for each word that is not the field's, or not spelled the American way."""
    for number, piece in list_pieces(suffix, text):
        for word in WORD.findall(piece):
            found = look_up(word)
            if found:
                yield number, *found


@cache
def look_up(word: str) -> tuple[str, str] | None:
    """Return (rule, finding) for one word, or None if it is in order."""
    for pattern, term in TERMS.items():
        if re.fullmatch(pattern, word, re.IGNORECASE):
            return "term", f'"{word}" ({term})'
    for pattern, american in BRITISH.items():
        match = re.fullmatch(pattern, word, re.IGNORECASE)
        if match:
            return "spelling", f'"{word}" ({match.expand(american)})'
    return None


def list_pieces(suffix: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of all that is written for people: of Python its names, strings and comments."""
    if suffix != ".py":
        for number, line in enumerate(text.splitlines(), 1):
            yield number, STRUCK_OUT.sub("", line)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in TEXT_TOKENS:
            for k, line in enumerate(token.string.splitlines()):
                yield token.start[0] + k, line


def find_names(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield (line, rule, finding) for functions named by a participle and docstrings that start with a fragment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_participle(node.name):
            yield node.lineno, "participle", f"def {node.name}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            text = ast.get_docstring(node) or ""
            first = re.match(r"\W*(\w+)", text)
            if first and first[1] in FRAGMENTS:
                yield node.body[0].lineno, "fragment", text.splitlines()[0]


def is_participle(name: str) -> bool:
    """Return True for one single word that is a past or present participle."""
    word = name.strip("_")
    if "_" in word or word in NO_PARTICIPLES:
        return False
    return word in IRREGULAR or bool(re.search(r"[a-z]{2}(ed|ing)$", word))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
