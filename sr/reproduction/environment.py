"""Find what differs between a run and this machine: packages, hardware, flags, config, and every byte of the images."""

import platform
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sr.config.diff import NO_VALUE, find_differences, flatten
from sr.data.file_digest import DigestCache
from sr.data.fingerprint import find_data_differences
from sr.lifecycle.provenance import list_packages
from sr.record import machine
from sr.reproduction.recorded_run import RecordedRun, parse_versions
from sr.runtime.terminal import create_progress_bar

ABSENT = "none"
IGNORED_FLAGS = ("variables", "variables.OMP_NUM_THREADS", "variables.MKL_NUM_THREADS", "variables.SR_DATA")


def find_package_differences(run: RecordedRun) -> list[str]:
    """Return lines such as `torch: 2.13.0 in the run, 2.12.0 here`."""
    return _list_differences(run.packages, parse_versions(list_packages()))


def find_machine_differences(run: RecordedRun) -> list[str]:
    """Compare Python, hardware and its libraries. Flags are not compared: the repetition sets them as they were."""
    current = {"python": platform.python_version(), **machine.describe_machine()}
    recorded = {"python": run.environment.get("python"), **get_section(run.environment, "machine")}
    return _list_differences(recorded, {key: current[key] for key in current if key in recorded})


def find_flag_differences(recorded: dict[str, Any], repeated: dict[str, Any]) -> list[str]:
    """Compare the flags in two environment.yaml files. Of threads only their number counts, not the variable that set it."""
    flags = [flatten(get_section(environment, "flags")) for environment in (recorded, repeated)]
    return _list_differences(*({key: v for key, v in side.items() if key not in IGNORED_FLAGS} for side in flags))


def find_config_differences(recorded: dict[str, Any], repeated: dict[str, Any]) -> list[str]:
    """Compare the options of two configs, without paths and tracking."""
    changes = find_differences(recorded, repeated)
    before = {c.key: c.before for c in changes if c.before is not NO_VALUE}
    after = {c.key: c.after for c in changes if c.after is not NO_VALUE}
    paths = {value for config in (recorded, repeated) for value in get_section(config, "paths").values()}
    return _list_differences(before, after, ignored=paths)  # other options may repeat a path


def get_section(node: dict[str, Any], key: str) -> dict[str, Any]:
    """Return `node[key]` if it is a dict, else an empty one."""
    section = node.get(key)
    return section if isinstance(section, dict) else {}


def find_image_differences(run: RecordedRun, root: Path, cache: Path | None) -> list[str]:
    """Return which files of the run differ or are missing; they are looked for in `root` and where they were.

    Files that were added to a folder show only when the run is repeated.
    """
    digests = DigestCache(cache)
    sets = [image_set for sets in run.data.values() for image_set in sets.values()]
    current: dict[tuple[str, str], str] = {}
    with create_progress_bar(sum(len(s["files"]) for s in sets), "fingerprint", "file") as bar:
        for image_set in sets:
            for name in image_set["files"]:
                file = _find_file(name, root, str(image_set["source"]))
                if file is not None:
                    current[image_set["source"], name] = digests.digest(file)
                bar.update()
    digests.save()
    return find_data_differences(run.data, _replace_digests(run.data, current))


def _list_differences(recorded: dict[str, Any], current: dict[str, Any], ignored: Collection[Any] = ()) -> list[str]:
    """Return a line for each key of two flat dicts whose values differ, unless both values are in `ignored`."""
    lines = []
    for key in dict.fromkeys([*recorded, *current]):
        before, after = recorded.get(key), current.get(key)
        if before != after and not (str(before) in ignored and str(after) in ignored):
            before, after = (ABSENT if value is None else value for value in (before, after))
            lines.append(f"{key}: {before} in the run, {after} here")
    return lines


def _find_file(name: str, root: Path, source: str) -> Path | None:
    """Return the file of this name below `root`, or below the folder that its set came from or a parent of it."""
    folders = [root, Path(source), *Path(source).parents]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _replace_digests(data: dict[str, dict[str, Any]], current: dict[tuple[str, str], str]) -> dict[str, dict[str, Any]]:
    """Return data.json with the current digests; a set without any difference stays as it is, digest included."""
    tree: dict[str, dict[str, Any]] = {}
    for context, sets in data.items():
        for name, image_set in sets.items():
            source, recorded = image_set["source"], image_set["files"]
            files = {file: current[source, file] for file in recorded if (source, file) in current}
            digest = image_set["digest"] if files == recorded else ""
            tree.setdefault(context, {})[name] = image_set | {"files": files, "digest": digest}
    return tree
