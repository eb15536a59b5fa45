"""The language check finds what it should find, and nothing else."""

import re
import subprocess
from pathlib import Path

import language
import pytest

PLANTED = {
    "sr/one.py": '"""Of such a dial."""\n\n\nclass Net:\n    """A colour."""\n\n\ndef _told():\n    return f"kept {1}"\n',
    "sr/two.py": 'class Net:\n    keepdim = 1\n\n\ndef read_header():\n    """Read the header."""\n    return \'fine_tuning\'\n',
    "conf/run.yaml": "scale: 2  # of the picture\n",
    "docs/a.md": "The optimisation of a ~~dial~~ is an option.\n",
    "notes.csv": "dial\n",
}
EXPECTED = [
    'sr/one.py:1: term: "dial" (option): """Of such a dial."""',
    'sr/one.py:5: spelling: "colour" (color): """A colour."""',
    'sr/one.py:8: term: "told" (log, report, receive): def _told():',
    'sr/one.py:9: term: "kept" (save, store, stay): return f"kept {1}"',
    "sr/one.py:1: fragment: Of such a dial.",
    "sr/one.py:8: participle: def _told",
    "sr/two.py:7: term: \"fine\" (penalty): return 'fine_tuning'",
    'conf/run.yaml:1: term: "picture" (image): scale: 2  # of the picture',
    'docs/a.md:1: spelling: "optimisation" (optimization): The optimisation of a ~~dial~~ is an option.',
    "sr/one.py:4: duplicate: class Net also in sr/two.py:1",
]


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A checkout with known findings."""
    for name, text in PLANTED.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_every_rule_reports_file_line_and_the_standard_term(planted: Path) -> None:
    assert sorted(language.check([planted], planted)) == sorted(EXPECTED)


def test_an_exception_holds_for_its_file_and_line_alone(planted: Path) -> None:
    exceptions = [*language.EXCEPTIONS, language.Allowed(r"^sr/two\.py$", "fine_tuning", "the field's word")]
    without = [line for line in EXPECTED if "fine_tuning" not in line]
    assert sorted(language.check([planted], planted, exceptions)) == sorted(without)


def test_words_are_found_within_identifiers_and_whatever_their_case() -> None:
    assert language.look_up("Kept")[0] == "term"
    found = language.find_words(".py", "is_told = KEPT_FILES = PictureSet(normalised=1)\n")
    assert [finding.partition(" ")[0] for _, _, finding in found] == ['"told"', '"KEPT"', '"Picture"', '"normalised"']


@pytest.mark.parametrize("name", ["seed", "embed", "load_told", "string", "run", "_read"])
def test_ordinary_names_are_no_participles(name: str) -> None:
    assert not language.is_participle(name)


@pytest.mark.parametrize("allowed", language.EXCEPTIONS, ids=lambda allowed: allowed.reason)
def test_every_exception_is_needed_and_has_a_reason(allowed: language.Allowed) -> None:
    """An exception whose line has been rewritten is to be deleted."""
    assert allowed.reason
    folders = [language.ROOT / name for name in language.FOLDERS]
    files = [
        f
        for f in language.list_files(folders, language.ROOT)
        if re.search(allowed.path, str(f.relative_to(language.ROOT)))
    ]
    lines = [
        line
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(allowed.line, line)
    ]
    assert any(language.look_up(word) for line in lines for word in language.WORD.findall(line))
