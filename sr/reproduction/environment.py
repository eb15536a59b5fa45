"""What is not here as it was there: packages, machine, flags, and images to the last byte."""

import platform
from pathlib import Path
from typing import Any

from sr.config.diff import NOTHING, find_differences, flatten
from sr.data.cache import FILES
from sr.data.file_digest import DigestCache
from sr.data.fingerprint import find_data_differences
from sr.record import machine
from sr.reproduction.past import Past, versions
from sr.runtime.terminal import create_progress_bar
from sr.track.provenance import list_packages

ABSENT = "none"
TOLD_OTHERWISE = ("variables.OMP_NUM_THREADS", "variables.MKL_NUM_THREADS", "variables.SR_DATA")


def of_packages(past: Past) -> list[str]:
    """`torch 2.13.0 there, 2.12.0 here`."""
    return _told(past.packages, versions(list_packages()))


def of_machine(past: Past) -> list[str]:
    """Python, hardware and its libraries; flags are set as they were."""
    here = {"python": platform.python_version(), **machine.describe_machine()}
    there = {"python": past.about.get("python"), **part(past.about, "machine")}
    return _told(there, {key: here[key] for key in here if key in there})


def of_flags(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Of two environment.yaml's: of both runs, as they ran. The count of threads counts, not who set it."""
    sides = [flatten(part(about, "flags")) for about in (there, here)]
    return _told(*({k: v for k, v in flags.items() if k not in ("variables", *TOLD_OTHERWISE)} for flags in sides))


def of_config(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Dials that are not the same in two configs; where things lie and who is told is not looked at."""
    changed = find_differences(there, here)
    one = {c.key: c.there for c in changed if c.there is not NOTHING}
    other = {c.key: c.here for c in changed if c.here is not NOTHING}
    paths = {value for c in (there, here) for value in part(c, "paths").values()}  # and parts' copies of them
    return _told(one, other, paths)


def _told(there: dict[str, Any], here: dict[str, Any], apart: Any = ()) -> list[str]:
    found = []
    for key in dict.fromkeys([*there, *here]):
        one, other = there.get(key), here.get(key)
        if one != other and not (str(one) in apart and str(other) in apart):
            found.append(f"{key} {ABSENT if one is None else one} there, {ABSENT if other is None else other} here")
    return found


def part(node: dict[str, Any], key: str) -> dict[str, Any]:
    """`node[key]` where that is a dict, else an empty one."""
    found = node.get(key)
    return found if isinstance(found, dict) else {}


def of_images(past: Past, root: Path, cache: Path | None) -> list[str]:
    """Which of the files that the run used are other ones here, or missing; they are looked for in `root`, and where they
    were. What is new in a folder shows only when the run is repeated."""
    memo = DigestCache(cache / FILES if cache else None)
    sets = [one for sets in past.data.values() for one in sets.values()]
    here: dict[tuple[str, str], str] = {}
    with create_progress_bar(sum(len(one["files"]) for one in sets), "fingerprint", "file") as bar:
        for one in sets:
            for name in one["files"]:
                file = _found(name, root, str(one["source"]))
                if file is not None:
                    here[one["source"], name] = memo.digest(file)
                bar.update()
    return find_data_differences(past.data, _as_found(past.data, here))


def _found(name: str, root: Path, source: str) -> Path | None:
    """The file of this name under `root`, or where its set lay."""
    places = [root, Path(source), *Path(source).parents]
    return next((place / name for place in places if (place / name).is_file()), None)


def _as_found(there: dict[str, dict[str, Any]], here: dict[tuple[str, str], str]) -> dict[str, dict[str, Any]]:
    """data.json with the digests of here; a set that is whole keeps its digest."""
    tree: dict[str, dict[str, Any]] = {}
    for context, sets in there.items():
        for name, one in sets.items():
            files = {file: here[one["source"], file] for file in one["files"] if (one["source"], file) in here}
            digest = one["digest"] if files == one["files"] else ""
            tree.setdefault(context, {})[name] = one | {"files": files, "digest": digest}
    return tree
