"""What images a run used, to the last byte: a digest of each set, and of each file, so that two runs can be compared.

A set's digest is of its files' names and contents, of how LR is made of them, and, of a set to be measured, of the
protocol.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from sr.data.file_digest import DigestCache
from sr.data.module import SRDataModule
from sr.runtime.error import UserError

LENGTH = 32  # digits of a set's digest: trackers take 36
OTHER = "other"  # the context of what is no images
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the repr of a function, another one in each process
HALVES = ("HR", "LR")  # folders inside of a set's


class UsedSet(NamedTuple):
    """A set and what it was used for: `train`, `val`, `test`, or `OTHER`."""

    context: str
    name: str
    files: Sequence[Path]
    made: dict[str, Any]  # how LR comes about, and how it is measured
    root: Path | None = None  # what its files' names are relative to; None: `paths.data`


class SetFingerprint(NamedTuple):
    """The fingerprint of a set."""

    context: str
    name: str
    source: str  # the folder of its files
    digest: str
    made: dict[str, Any]
    files: dict[str, str]  # name -> sha256


def list_used_sets(data: SRDataModule, describe: Callable[[str], dict[str, Any]]) -> list[UsedSet]:
    """The sets that are set up. `describe` tells the protocol, given where LR comes from (`Protocol.describe`)."""
    found = []
    if data.train_set is not None:
        lr = "files" if getattr(data.train_set, "is_paired", False) else repr(data.degrade)
        found.append(UsedSet("train", data.training_name, _files(data.train_set), {"lr": lr}))
    for part, sets in data.eval_sets.items():
        for k, chosen in enumerate(sets):
            lr = data.describe_lr(part, k)
            found.append(UsedSet(part, data.set_name(part, k), _files(chosen), {"lr": lr, "protocol": describe(lr)}))
    return found


def _files(chosen: Any) -> Sequence[Path]:
    """Of a set; a class of the user's own need not tell them."""
    return getattr(chosen, "files", ())


def compute_fingerprints(sets: Iterable[UsedSet], root: Path, memo: DigestCache) -> list[SetFingerprint]:
    """Read all files that `memo` does not know, side by side. Names are those under `root`, where a file is there."""
    sets = list(sets)
    paths = list(dict.fromkeys(file.absolute() for one in sets for file in one.files))
    with ThreadPoolExecutor(2) as pool:  # hashing lets go of Python, and disks are not faster with more
        digests = pool.map(lambda file: _digest(file, memo), paths)
        known = dict(zip(paths, tqdm(digests, "fingerprint", len(paths), unit="file", delay=2), strict=True))
    return [_print(one, root, known) for one in sets]


def _digest(file: Path, memo: DigestCache) -> str:
    try:
        return memo.digest(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None


def _print(one: UsedSet, root: Path, known: dict[Path, str]) -> SetFingerprint:
    paths = [file.absolute() for file in one.files]
    files = dict(sorted(zip(name_files(paths, one.root or root), (known[path] for path in paths), strict=True)))
    content = ADDRESS.sub("", json.dumps([files, one.made], sort_keys=True, default=str)).encode()
    source = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return SetFingerprint(one.context, one.name, source, hashlib.sha256(content).hexdigest()[:LENGTH], one.made, files)


def name_files(paths: Sequence[Path], root: Path) -> list[str]:
    """Each file's path under `root`, or with its set's folder alone, so that it is the same wherever that lies."""
    root = root.expanduser().absolute()
    found = [
        path.relative_to(root) if path.is_relative_to(root) else Path(*path.parts[-2 - (path.parent.name in HALVES) :])
        for path in paths
    ]
    return [path.as_posix() for path in (found if len(set(found)) == len(set(paths)) else paths)]


def to_tree(found: Iterable[SetFingerprint]) -> dict[str, dict[str, Any]]:
    """As it stands in data.json: `{"train": {"T91": {"digest": …, "files": {"T91/HR/t1.png": sha256}}}}`."""
    tree: dict[str, dict[str, Any]] = {}
    for one in found:
        about = {"digest": one.digest, "source": one.source, **one.made, "files": one.files}
        tree.setdefault(one.context, {})[one.name] = about
    return tree


def find_data_differences(there: dict[str, dict[str, Any]], here: dict[str, dict[str, Any]]) -> list[str]:
    """What of two data.json's is not the same, file by file."""
    found = []
    for context in dict.fromkeys([*there, *here]):
        first, second = there.get(context, {}), here.get(context, {})
        for name in dict.fromkeys([*first, *second]):
            if name not in first or name not in second:
                found.append(f"{context} set {name} is used {'there' if name in first else 'here'} only")
            elif first[name]["digest"] != second[name]["digest"]:
                lines = _of_files(first[name]["files"], second[name]["files"])
                found += lines or [f"{context} set {name}: its LR is made, or it is measured, otherwise"]
    return list(dict.fromkeys(found))


def _of_files(there: dict[str, str], here: dict[str, str]) -> list[str]:
    found = [f"{name} differs" for name in there if name in here and there[name] != here[name]]
    gone, new = ({n: s for n, s in a.items() if n not in b} for a, b in ((there, here), (here, there)))
    contents = {digest: name for name, digest in new.items()}
    for name, digest in gone.items():
        now = contents.pop(digest, None)
        found.append(f"{name} is {now} now" if now else f"{name} is missing")
    return found + [f"{name} is new" for name in contents.values()]
