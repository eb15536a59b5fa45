"""Fingerprints of the images that a run used: a digest of each set, and of each file, so that two runs can be compared.

The digest of a set covers the names and contents of its files, how LR is made of them, and for an evaluation set the
protocol.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sr.data.file_digest import DigestCache
from sr.data.module import SRDataModule
from sr.runtime.error import UserError

DIGEST_LENGTH = 32  # characters of a set's digest; trackers take at most 36
OTHER = "other"  # the context of files that are no images
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the repr of a function; differs from process to process
SUBFOLDERS = ("HR", "LR")  # of the folder of a set


class UsedSet(NamedTuple):
    """A set and what it was used for: `train`, `val`, `test`, or `OTHER`."""

    context: str
    name: str
    files: Sequence[Path]
    conditions: dict[str, Any]  # how LR is made, and the protocol of an evaluation set
    root: Path | None = None  # the folder to which its files' names are relative; None: `paths.data`


class SetFingerprint(NamedTuple):
    """The fingerprint of a set."""

    context: str
    name: str
    source: str  # the folder of its files
    digest: str
    conditions: dict[str, Any]
    files: dict[str, str]  # name -> sha256


def list_used_sets(data: SRDataModule, describe: Callable[[str], dict[str, Any]]) -> list[UsedSet]:
    """List the sets that are set up. `describe` is `Protocol.describe`: it describes the protocol for a source of LR."""
    used = []
    if data.train_set is not None:
        lr = "files" if getattr(data.train_set, "is_paired", False) else repr(data.degrade)
        parts = getattr(getattr(data.train_set, "images", None), "parts", {})
        used.append(UsedSet("train", data.training_name, data.train_set.files, {"lr": lr, **parts}))
    for split, sets in data.eval_sets.items():
        for k, images in enumerate(sets):
            lr = data.describe_lr(split, k)
            conditions = {"lr": lr, **getattr(images, "parts", {}), "protocol": describe(lr)}
            used.append(UsedSet(split, data.set_name(split, k), images.files, conditions))
    return used


def compute_fingerprints(sets: Iterable[UsedSet], root: Path, digests: DigestCache) -> list[SetFingerprint]:
    """Compute the fingerprint of each set, reading in parallel all files that `digests` does not remember.

    Files are named by their paths relative to `root`, if they are under it.
    """
    sets = list(sets)
    paths = list(dict.fromkeys(file.absolute() for used in sets for file in used.files))
    try:
        by_path = dict(zip(paths, digests.digest_all(paths), strict=True))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror or error})") from None
    return [_combine(used, root, by_path) for used in sets]


def _combine(used: UsedSet, root: Path, digests: dict[Path, str]) -> SetFingerprint:
    """Combine the digests of a set's files and its conditions."""
    paths = [file.absolute() for file in used.files]
    files = dict(sorted(zip(name_files(paths, used.root or root), (digests[path] for path in paths), strict=True)))
    content = ADDRESS.sub("", json.dumps([files, used.conditions], sort_keys=True, default=str)).encode()
    digest = hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]
    source = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return SetFingerprint(used.context, used.name, source, digest, used.conditions, files)


def name_files(paths: Sequence[Path], root: Path) -> list[str]:
    """Name each file by its path under `root`, or else by its set's folder alone: the same name wherever the set is."""
    root = root.expanduser().absolute()
    names = [
        path.relative_to(root)
        if path.is_relative_to(root)
        else Path(*path.parts[-2 - (path.parent.name in SUBFOLDERS) :])
        for path in paths
    ]
    return [path.as_posix() for path in (names if len(set(names)) == len(set(paths)) else paths)]


def to_tree(fingerprints: Iterable[SetFingerprint]) -> dict[str, dict[str, Any]]:
    """Return the content of data.json: `{"train": {"T91": {"digest": …, "files": {"T91/HR/t1.png": sha256}}}}`."""
    tree: dict[str, dict[str, Any]] = {}
    for one in fingerprints:
        content = {"digest": one.digest, "source": one.source, **one.conditions, "files": one.files}
        tree.setdefault(one.context, {})[one.name] = content
    return tree


def find_data_differences(before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> list[str]:
    """Describe how two data.json differ, file by file: that of the run `before`, and that of this one."""
    differences = []
    for context in dict.fromkeys([*before, *now]):
        old_sets, new_sets = before.get(context, {}), now.get(context, {})
        for name in dict.fromkeys([*old_sets, *new_sets]):
            if name not in old_sets or name not in new_sets:
                run = "earlier run" if name in old_sets else "present run"
                differences.append(f"{context} set {name} is used by the {run} only")
            elif old_sets[name]["digest"] != new_sets[name]["digest"]:
                lines = _compare_files(old_sets[name]["files"], new_sets[name]["files"])
                differences += lines or [f"{context} set {name}: its LR is made, or it is evaluated, in another way"]
    return list(dict.fromkeys(differences))


def _compare_files(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Describe how the files (name -> sha256) of a set have changed."""
    changed = [f"{name} differs" for name in before if name in now and before[name] != now[name]]
    missing = {name: digest for name, digest in before.items() if name not in now}
    new_names = {digest: name for name, digest in now.items() if name not in before}
    for name, digest in missing.items():
        new_name = new_names.pop(digest, None)
        changed.append(f"{name} is {new_name} now" if new_name else f"{name} is missing")
    return changed + [f"{name} is new" for name in new_names.values()]
