"""Record where a run comes from, as files of its folder: config, command, source code, packages, machine, data."""

import hashlib
import itertools
import os
import platform
import shlex
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig

from sr.data.file_digest import DigestCache
from sr.data.fingerprint import OTHER, SetFingerprint, UsedSet, compute_fingerprints, list_used_sets, to_tree
from sr.data.module import SRDataModule
from sr.metric.protocol import Protocol
from sr.pretrained.networks import find_network
from sr.pretrained.weight_file import list_weight_files
from sr.record import git, machine
from sr.record.checkpoint_files import list_checkpoints
from sr.record.json_text import to_json
from sr.record.run_file import write_atomic
from sr.record.run_folder import OPTION_FILES, collect_options, to_yaml
from sr.runtime.redact import mask_passwords, mask_patch
from sr.track.run_address import find_version
from sr.track.tracker import Tracker

FILE_OPTIONS = ("model.init", "model.net.file", "resume", "checkpoint", "interpolate")  # that name files which are read
MAX_CONFIG_DIR_FILES = 1000  # files of one `--config-dir`


def collect_files(
    command: str,
    config: dict[str, Any],
    choices: dict[str, str],
    overrides: Sequence[str],
    device: torch.device,
) -> dict[str, bytes]:
    """Return the files of a run's provenance, name -> content; `changes.patch` only if the source differs from its commit.

    It takes about half a second. Passwords in addresses are masked.
    """
    checkout = git.find_checkout()
    paths = [Path(path).expanduser().resolve() for path in config.get("paths", {}).values() if path]
    changes = git.read_changes(checkout, paths) if checkout else git.Changes()
    state, config_dirs = git.read_state(checkout), list_config_dirs()
    outside = [folder for folder in config_dirs if checkout and not Path(folder).is_relative_to(checkout)]
    if checkout and state and (changes.patch or outside):
        git.record_code(checkout, git.digest_code(state["sha"], changes.patch, outside))
    environment = {
        "verb": command,
        "command": format_command(command, [*(f"--config-dir={folder}" for folder in config_dirs), *overrides]),
        "folder": str(Path.cwd()),
        "parts": config_dirs,
        "seed": config.get("seed"),
        "versions": _list_versions(config),
        "git": state,
        "patch_sha256": hashlib.sha256(changes.patch).hexdigest() if changes.patch else None,
        "patch_is_whole": changes.is_complete,
        "not_in_patch": list(changes.omitted),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": machine.describe_machine(),
        "flags": machine.read_flags(),
        "device": str(device),
        "gflops": machine.measure_gflops(device),
    }
    files = collect_options(config, choices, overrides)
    files |= {
        "environment.yaml": mask_passwords(to_yaml(environment)).encode(),
        "packages.txt": mask_passwords(list_packages()).encode(),
    }
    patch = mask_patch(changes.patch, "\n".join([to_yaml(config), *overrides]))
    return files | ({"changes.patch": patch} if patch else {})


def choose_path(folder: Path, name: str) -> Path:
    """Return the path of a provenance file in a run's folder.

    A run may be resumed on another machine, with other code: its first environment.yaml stays, and environment.2.yaml is
    written. Files of its options are overwritten.
    """
    if name in OPTION_FILES:
        return folder / name
    stem, suffix = name.split(".")
    numbers = itertools.chain([""], (f".{k}" for k in itertools.count(2)))
    paths = (folder / f"{stem}{number}.{suffix}" for number in numbers)
    return next(path for path in paths if not os.path.lexists(path))  # a link is no free name, wherever it leads


def fingerprint_data(config: dict[str, Any], data: SRDataModule, protocol: Protocol) -> list[SetFingerprint]:
    """Return the fingerprints of the image sets that are set up, and of other files: weights, the user's own parts."""
    return fingerprint_sets(config, list_used_sets(data, protocol.describe))


def fingerprint_sets(config: dict[str, Any], used: Sequence[UsedSet]) -> list[SetFingerprint]:
    """Return the fingerprints of these sets, and of other files: weights, the user's own parts.

    Files that have not changed since a run read them cost nothing; others are read, with a progress bar.
    """
    cache = config["paths"].get("cache")
    digests = DigestCache(Path(cache) if cache else None)
    return compute_fingerprints([*used, *_list_other_files(config)], Path(config["paths"]["data"]), digests)


def save_fingerprint(fingerprints: list[SetFingerprint], tracker: Tracker, folder: Path) -> None:
    """Write `data.json` into the run's folder, and report the image sets to the tracker."""
    path = choose_path(folder, "data.json")
    write_atomic(path, to_json(to_tree(fingerprints), 1))
    tracker.log_file(path)
    for fingerprint in fingerprints:
        if fingerprint.context != OTHER and fingerprint.files:
            tracker.log_dataset(fingerprint.name, fingerprint.digest, fingerprint.source, fingerprint.context)


def format_command(command: str, words: Sequence[str]) -> str:
    """Return the command line that repeats the run, in its commit with its patch; with SR_DATA if that was set."""
    data = os.environ.get("SR_DATA")
    prefix = f"SR_DATA={shlex.quote(data)} " if data and not any(w.startswith("paths.data=") for w in words) else ""
    return f"{prefix}python -m sr.{command} {shlex.join(words)}".rstrip()


def list_config_dirs() -> list[str]:
    """Return the folders that `--config-dir` named."""
    if not HydraConfig.initialized():
        return []
    return [source.path for source in HydraConfig.get().runtime.config_sources if source.provider == "command-line"]


@lru_cache
def list_packages() -> str:
    """Return `name==version` of all installed packages, one a line.

    `Distribution.name` would parse the whole of each description, which takes 0.2 s.
    """
    packages = []
    for distribution in metadata.distributions():
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        head = dict(line.partition(": ")[::2] for line in text.partition("\n\n")[0].splitlines())
        if {"Name", "Version"} <= head.keys():  # neither is in what is left of a package that was removed
            packages.append(f"{head['Name']}=={head['Version']}")
    return "\n".join(dict.fromkeys(sorted(packages))) + "\n"


def _get_option(config: dict[str, Any], option: str) -> Any:
    node: Any = config
    for name in option.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _list_versions(config: dict[str, Any]) -> dict[str, str]:
    """Return the options that name a registered model by its alias, with the version that it meant: `models:/sr/3`."""
    found = {option: find_version(str(_get_option(config, option))) for option in FILE_OPTIONS}
    return {option: address for option, address in found.items() if address}


def _list_other_files(config: dict[str, Any]) -> list[UsedSet]:
    """Return the files that other options name, and those of `--config-dir`."""
    used_sets = []
    for option in FILE_OPTIONS:
        node = _get_option(config, option)
        network = find_network(str(node))
        path = (network and network.find_file()) or Path(str(node)).expanduser()
        is_folder = path.is_dir() and option != "resume"  # a folder there is the run itself
        files = list_checkpoints(path) if is_folder else list_weight_files(path)
        if node is not None and files and files[0].is_file():
            used_sets.append(UsedSet(OTHER, option, files, {}))
    checkout = git.find_checkout()
    for folder in map(Path, list_config_dirs()):
        if checkout is None or not folder.is_relative_to(checkout):  # those inside are in the commit, or in its patch
            files = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".yaml"))[:MAX_CONFIG_DIR_FILES]
            used_sets.append(UsedSet(OTHER, f"--config-dir={folder.name}", files, {}, folder.parent))
    return used_sets
