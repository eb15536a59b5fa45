"""Where a run comes from, as files of its folder: config, command, code, packages, machine."""

import itertools
import json
import os
import platform
import shlex
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.core.hydra_config import HydraConfig

from sr.data.cache import FILES
from sr.data.file_digest import DigestCache
from sr.data.fingerprint import OTHER, SetFingerprint, UsedSet, compute_fingerprints, list_used_sets, to_tree
from sr.data.module import SRDataModule
from sr.metric.protocol import Protocol
from sr.record import git, machine
from sr.record.checkpoint_files import list_checkpoints
from sr.record.redact import mask_passwords
from sr.track.tracker import Tracker

FILE_DIALS = ("model.init", "model.net.file", "resume", "checkpoint", "interpolate")
DIALS = ("config.yaml", "overrides.yaml", "choices.yaml")
MOST_PARTS = 1000  # files of one `--config-dir`


def collect_files(
    verb: str,
    config: dict[str, Any],
    choices: dict[str, str],
    typed: Sequence[str],
    device: torch.device,
) -> dict[str, bytes]:
    """Their contents by name; `changes.patch` only of a dirty tree. About half a second."""
    checkout = git.find_checkout()
    paths = [Path(path).expanduser().resolve() for path in config.get("paths", {}).values() if path]
    changes = git.read_changes(checkout, paths) if checkout else git.Changes()
    about = {
        "verb": verb,
        "command": format_command(verb, [*(f"--config-dir={parts}" for parts in list_config_dirs()), *typed]),
        "folder": str(Path.cwd()),
        "parts": list_config_dirs(),
        "seed": config.get("seed"),
        "git": git.read_state(checkout),
        "patch_is_whole": changes.whole,
        "not_in_patch": list(changes.left_out),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": machine.describe_machine(),
        "flags": machine.read_flags(),
        "device": str(device),
        "gflops": machine.measure_gflops(device),
    }
    texts = {
        "config.yaml": _yaml(config),
        "overrides.yaml": _yaml(list(typed)),
        "choices.yaml": _yaml({group: choice for group, choice in choices.items() if choice is not None}),
        "environment.yaml": _yaml(about),
        "packages.txt": list_packages(),
    }
    found = {name: mask_passwords(text).encode() for name, text in texts.items()}
    return found | ({"changes.patch": changes.patch} if changes.patch else {})


def choose_path(folder: Path, name: str) -> Path:
    """Where such a file belongs. A run that goes on may do so on another machine, with other code: what it was before stays,
    and `environment.2.yaml` stands beside it. Its dials are those of now."""
    if name in DIALS:
        return folder / name
    stem, suffix = name.split(".")
    numbers = itertools.chain([""], (f".{k}" for k in itertools.count(2)))
    return next(path for number in numbers if not (path := folder / f"{stem}{number}.{suffix}").exists())


def fingerprint_data(config: dict[str, Any], data: SRDataModule, protocol: Protocol) -> list[SetFingerprint]:
    """Of the sets that are set up, and of whatever else was read: weights, the user's own parts.

    Files that were not changed since any run read them cost nothing; others are read, with a progress bar.
    """
    cache = config["paths"].get("cache")
    memo = DigestCache(Path(cache).expanduser() / FILES if cache else None)
    return compute_fingerprints(
        [*list_used_sets(data, protocol.describe), *_others(config)], Path(config["paths"]["data"]), memo
    )


def save_fingerprint(found: list[SetFingerprint], tracker: Tracker, folder: Path) -> None:
    """`data.json` in the run's folder, and the sets in the tracker."""
    path = choose_path(folder, "data.json")
    path.write_text(json.dumps(to_tree(found), indent=1, ensure_ascii=False), encoding="utf-8")
    tracker.log_file(path)
    for one in found:
        if one.context != OTHER and one.files:
            tracker.log_dataset(one.name, one.digest, one.source, one.context)


def _others(config: dict[str, Any]) -> list[UsedSet]:
    """Files that a run was given by other dials, and by `--config-dir`."""
    found = []
    for dial in FILE_DIALS:
        node: Any = config
        for word in dial.split("."):
            node = node.get(word) if isinstance(node, dict) else None
        path = Path(str(node)).expanduser()
        files = list_checkpoints(path) if path.is_dir() and dial != "resume" else [path]  # which is the run itself
        if node is not None and files and files[0].is_file():
            found.append(UsedSet(OTHER, dial, files, {}))
    checkout = git.find_checkout()
    for parts in map(Path, list_config_dirs()):
        if checkout is None or not parts.is_relative_to(checkout):  # those inside are in the commit, or in its patch
            files = sorted(path for path in parts.rglob("*") if path.suffix in (".py", ".yaml"))[:MOST_PARTS]
            found.append(UsedSet(OTHER, f"--config-dir={parts.name}", files, {}, parts.parent))
    return found


def format_command(verb: str, words: Sequence[str]) -> str:
    """What repeats the run, typed in its commit with its patch. SR_DATA is part of it where it was set."""
    data = os.environ.get("SR_DATA")
    before = f"SR_DATA={shlex.quote(data)} " if data and not any(w.startswith("paths.data=") for w in words) else ""
    return f"{before}python -m sr.{verb} {shlex.join(words)}".rstrip()


def list_config_dirs() -> list[str]:
    """The folders that `--config-dir` named."""
    if not HydraConfig.initialized():
        return []
    return [source.path for source in HydraConfig.get().runtime.config_sources if source.provider == "command-line"]


@lru_cache
def list_packages() -> str:
    """`name==version` in each line; a fifth of a second, once a process."""
    found = [(d.metadata["Name"], d.version) for d in metadata.distributions()]
    return "\n".join(dict.fromkeys(sorted(f"{name}=={version}" for name, version in found if name))) + "\n"


def _yaml(node: Any) -> str:
    return yaml.safe_dump(node, sort_keys=False, allow_unicode=True)
