"""Files from a tracking server, whose names are a stranger's: nothing is written outside of the folder it is meant for."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sr.runtime.error import UserError

NESTED = 5  # times that a name may be percent-encoded before it is nobody's name
SHOWN = 5


def safe(root: Path, name: str, run_id: str = "") -> Path:
    """Where an artifact of this name belongs under `root`. Raises where it is no plain relative name, also once what is
    percent-encoded in it is read, or where a link would lead out of `root`."""
    for readable in _decoded(name) if isinstance(name, str) else [""]:
        parts = readable.split("/")
        if any(part in ("", ".", "..") for part in parts) or re.search(r"[\0-\x1f\\]|^[A-Za-z]:", readable):
            _refuse(name, run_id, "expected a name such as config.yaml or images/a.png, below the run's own folder")
    path = root / name
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to itself
        inside = False
    if not inside:
        _refuse(name, run_id, f"there is a link in {root} that leads out of it")
    return path


def download_artifact(client: Any, run_id: str, name: str, folder: Path) -> Path:
    """Download the file `name` of an MLflow run to its place in `folder`; whole or not at all.

    Before anything is written, all names that the server lists beside it are judged as well, for MLflow's client follows
    them. It writes aside first, and only the one file that was asked for is taken from there.
    """
    path = safe(folder, name, run_id)
    beside = _listed(client, run_id, name.rpartition("/")[0], folder)
    if name not in beside:
        there = ", ".join(sorted(beside)[:SHOWN])
        raise UserError(f"mlflow:{run_id} has no artifact {name}" + (f"; there are {there} …" if there else ""))
    if beside[name]:
        _refuse(name, run_id, "expected a file, and it is a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetched-") as aside:
        came, place = Path(client.download_artifacts(run_id, name, aside)), Path(aside).resolve()
        if (
            came.is_symlink()
            or not came.is_file()
            or not came.resolve().is_relative_to(place)
            or came.name != path.name
        ):
            _refuse(name, run_id, f"expected a file of this name in {aside}, and {came} came")
        path.parent.mkdir(parents=True, exist_ok=True)
        return came.replace(path)


def _listed(client: Any, run_id: str, parent: str, folder: Path) -> dict[str, bool]:
    """The artifacts in a folder of the run by name, and whether each is a folder itself; raises with one that is not safe."""
    found = {info.path: info.is_dir for info in client.list_artifacts(run_id, parent or None)}
    for name in found:
        safe(folder, name, run_id)
        if name.rpartition("/")[0] != parent:
            _refuse(name, run_id, f"the server lists it in {parent or 'the uppermost folder'}")
    return found


def _decoded(name: str) -> Iterator[str]:
    """The name as it stands, and as any reader on the way might read it."""
    for _ in range(NESTED):
        yield name
        if unquote(name) == name:
            return
        name = unquote(name)
    yield ""  # no name


def _refuse(name: str, run_id: str, why: str) -> None:
    run = f"mlflow:{run_id}" if run_id else "the server"
    raise UserError(f"{run} has an artifact {name!r}, which is not taken: {why}")
