"""A run as it is found again: what stands in its folder. All of it was written by somebody else, and is only data."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sr.runtime.error import UserError

VERBS = ("run", "evaluate")
SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
NEEDED = ("config.yaml", "overrides.yaml", "environment.yaml")
NAMES = (
    *NEEDED,
    "summary.json",
    "data.json",
    "packages.txt",
    "changes.patch",
)  # all that is read, of a tracked run too
LARGEST = 100_000_000  # bytes of such a file


class Past(NamedTuple):
    """One run."""

    folder: Path
    id: str  # ours, else MLflow's, else the folder's name
    verb: str
    typed: list[str]
    config: dict[str, Any]
    about: dict[str, Any]  # environment.yaml
    packages: dict[str, str]  # name -> version
    data: dict[str, dict[str, Any]]  # data.json
    summary: dict[str, Any]
    patch: bytes

    @property
    def sha(self) -> str:
        """Its commit."""
        return self.about["git"]["sha"]

    @property
    def parts(self) -> list[str]:
        """The folders that `--config-dir` named."""
        return [str(folder) for folder in self.about.get("parts") or []]

    @property
    def parts_inside(self) -> list[str]:
        """Those of them that lay in the run's checkout, relative to it: they are in its commit, or in its patch."""
        checkout = str(self.about["git"].get("folder") or "/dev/null")
        return [str(Path(part).relative_to(checkout)) for part in self.parts if Path(part).is_relative_to(checkout)]

    @property
    def other_code(self) -> list[str]:
        """The commits under which it went on, where they were others than the first; short."""
        later = [_yaml(path) for path in sorted(self.folder.glob("environment.*.yaml"))]
        shas = [
            str(one["git"].get("sha")) for one in later if isinstance(one, dict) and isinstance(one.get("git"), dict)
        ]
        return [sha[:12] for sha in shas if sha != self.sha]

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.summary.get("status") == "FINISHED"


def read(folder: Path, tracked: str | None = None) -> Past:
    """Everything, checked to be of the kind that it should be; `tracked` is the id of a run that came from MLflow."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"run={folder}: {', '.join(missing)} is not there: not a run of sr, or of one before provenance"
        )
    config, typed, about = (_yaml(folder / name) for name in NEEDED)
    identity, summary, data = (_json(folder / name) for name in ("run.json", "summary.json", "data.json"))
    if not (isinstance(config, dict) and isinstance(about, dict) and isinstance(about.get("git"), dict)):
        raise UserError(f"run={folder}: config.yaml or environment.yaml was not written by sr, or is damaged")
    typed = typed or []  # of a run that went on, all that was typed for it so far
    if not _is_fingerprint(data):
        raise UserError(f"run={folder}: data.json was not written by sr, or is damaged")
    if not isinstance(typed, list) or not all(isinstance(word, str) and word[:1] != "-" for word in typed):
        raise UserError(f"run={folder}: overrides.yaml: expected a list of words")
    if about.get("verb") not in VERBS:
        raise UserError(f"run={folder}: is of verb {about.get('verb')}; only {' and '.join(VERBS)} can be repeated")
    if not SHA.fullmatch(str(about["git"].get("sha"))):
        raise UserError(f"run={folder}: its commit is not known: sr did not run from a git checkout then")
    known = identity.get("id") or identity.get("run_id") or summary.get("run_id") or tracked or folder.name
    patch = _bytes(folder / "changes.patch")
    return Past(folder, str(known), about["verb"], typed, config, about, _packages(folder), data, summary, patch)


def _is_fingerprint(data: dict[str, Any]) -> bool:
    """Whether it is what `sr.data.fingerprint.as_tree` gives, with names that stay inside of their folder."""
    try:
        sets = [one for sets in data.values() for one in sets.values()]
        texts = [text for one in sets for text in (one["digest"], one["source"], *one["files"], *one["files"].values())]
        names = [Path(name) for one in sets for name in one["files"]]
    except (AttributeError, KeyError, TypeError):
        return False
    return all(isinstance(text, str) for text in texts) and not any(".." in name.parts for name in names)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: {path.stat().st_size / 1e6:.0f} MB: no such file is that large")
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(_bytes(path).decode())
    except (yaml.YAMLError, ValueError):
        raise UserError(f"{path}: not a YAML file, or a damaged one") from None


def _json(path: Path) -> dict[str, Any]:
    """Empty where there is none."""
    try:
        found = json.loads(_bytes(path) or b"{}")
    except ValueError:
        raise UserError(f"{path}: not a JSON file, or a damaged one") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected an object, as sr writes it")
    return found


def _packages(folder: Path) -> dict[str, str]:
    return versions(_bytes(folder / "packages.txt").decode(errors="replace"))


def versions(text: str) -> dict[str, str]:
    """`name==version` lines as a dict."""
    return dict(line.split("==", 1) for line in text.splitlines() if "==" in line)
