"""A run as its folder records it. Its files may come from somebody else, so they are checked and only read as data."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sr.record.identity import FINISHED, RUN_FILE, read_identity
from sr.record.result import SUMMARY_FILE, RunResult, read_run_result
from sr.record.trial import SUMMARY_COMMAND
from sr.runtime.error import UserError

COMMANDS = ("run", "evaluate")  # that can be repeated
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
REQUIRED_FILES = ("config.yaml", "overrides.yaml", "environment.yaml")
OPTIONAL_FILES = re.compile(  # names; a resumed run has numbered ones
    rf"{re.escape(SUMMARY_FILE)}|data\.json|packages\.txt|changes(\.\d+)?\.patch|environment\.\d+\.yaml"
)
MAX_FILE_SIZE = 100_000_000  # bytes


class RecordedRun(NamedTuple):
    """The content of a run's folder."""

    folder: Path
    id: str  # ours, else the tracker's, else the folder's name
    command: str  # run or evaluate
    overrides: list[str]  # the words of its command line; of a resumed run, all that were typed so far
    config: dict[str, Any]
    environment: dict[str, Any]  # environment.yaml
    packages: dict[str, str]  # name -> version
    data: dict[str, dict[str, Any]]  # data.json
    result: RunResult | None  # None: the run was killed
    patch: bytes

    @property
    def commit(self) -> str:
        """The hash of the commit that the run started from."""
        return self.environment["git"]["sha"]

    @property
    def config_dirs(self) -> list[str]:
        """The folders that `--config-dir` named."""
        return [str(folder) for folder in self.environment.get("parts") or []]

    @property
    def checkout(self) -> str:
        """The folder of the git checkout that the run was started from, on its own machine."""
        return str(self.environment["git"].get("folder") or "/dev/null")

    @property
    def config_dirs_in_checkout(self) -> list[str]:
        """Those of `config_dirs` inside of the run's checkout, relative to it: its commit or its patch holds them."""
        return [str(Path(f).relative_to(self.checkout)) for f in self.config_dirs if f not in self.other_config_dirs]

    @property
    def other_config_dirs(self) -> list[str]:
        """Those of `config_dirs` outside of the run's checkout: neither its commit nor its patch holds their code."""
        paths = {folder: Path(folder) for folder in self.config_dirs}
        return [f for f, path in paths.items() if ".." in path.parts or not path.is_relative_to(self.checkout)]

    @property
    def is_finished(self) -> bool:
        """True if the run came to its end."""
        return self.result is not None and self.result.status == FINISHED


def read_run(folder: Path, tracker_id: str | None = None) -> RecordedRun:
    """Read and check the files of a run; `tracker_id` is its id in the tracker that it was downloaded from."""
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if missing and (found := read_identity(folder)) and found.command == SUMMARY_COMMAND:
        raise UserError(
            f"run={folder}: expected a training or an evaluation (found the summary of a sweep); name one of its trials"
        )
    if missing:
        raise UserError(
            f"run={folder}: {', '.join(missing)} missing: not a run of sr, or one from before sr recorded its provenance"
        )
    config, overrides = (_read_yaml(folder / name) for name in ("config.yaml", "overrides.yaml"))
    environment = read_environment(folder / "environment.yaml")
    identity, data = (_read_json(folder / name) for name in (RUN_FILE, "data.json"))
    result = read_run_result(folder)
    if not isinstance(config, dict):
        raise UserError(f"run={folder}: config.yaml was not written by sr, or is damaged")
    overrides = overrides or []
    if not _is_fingerprint(data):
        raise UserError(f"run={folder}: data.json was not written by sr, or is damaged")
    if not isinstance(overrides, list) or not all(isinstance(word, str) and word[:1] != "-" for word in overrides):
        raise UserError(f"run={folder}: overrides.yaml: expected a list of words")
    command = environment.get("verb")
    if command not in COMMANDS:
        raise UserError(
            f"run={folder}: it was started by sr.{command}; only sr.{' and sr.'.join(COMMANDS)} can be repeated"
        )
    run_id = identity.get("id") or identity.get("run_id") or (result and result.run_id) or tracker_id or folder.name
    packages = parse_versions(read_bytes(folder / "packages.txt").decode(errors="replace"))
    patch = read_bytes(folder / "changes.patch")
    return RecordedRun(
        folder, str(run_id), command, overrides, config, environment, packages, data, result, patch
    )  # fmt: skip


def read_environment(path: Path) -> dict[str, Any]:
    """Return a checked environment.yaml, or the numbered one of a resumed run."""
    environment = _read_yaml(path)
    if not isinstance(environment, dict) or not isinstance(environment.get("git"), dict):
        raise UserError(f"{path}: was not written by sr, or is damaged")
    if not COMMIT.fullmatch(str(environment["git"].get("sha"))):
        raise UserError(f"{path}: its commit is unknown, because sr did not run from a git checkout")
    return environment


def parse_versions(text: str) -> dict[str, str]:
    """Return `name==version` lines as a dict."""
    return dict(line.split("==", 1) for line in text.splitlines() if "==" in line)


def _is_fingerprint(data: dict[str, Any]) -> bool:
    """Return whether `data` has the form of `sr.data.fingerprint.to_tree`, with file names inside of their folder."""
    try:
        sets = [image_set for sets in data.values() for image_set in sets.values()]
        texts = [text for s in sets for text in (s["digest"], s["source"], *s["files"], *s["files"].values())]
        names = [Path(name) for image_set in sets for name in image_set["files"]]
    except (AttributeError, KeyError, TypeError):
        return False
    return all(isinstance(text, str) for text in texts) and not any(".." in name.parts for name in names)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, empty if there is none."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_SIZE:
            raise UserError(f"{path}: expected at most {MAX_FILE_SIZE / 1e6:.0f} MB (found {size / 1e6:.0f} MB)")
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(read_bytes(path).decode())
    except (yaml.YAMLError, ValueError):
        raise UserError(f"{path}: not a YAML file, or a damaged one") from None


def _read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty if there is no file."""
    try:
        content = json.loads(read_bytes(path) or b"{}")
    except ValueError:
        raise UserError(f"{path}: not a JSON file, or a damaged one") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object, as sr writes it")
    return content
