"""Download files of a run from a tracking server, whose names may be anything: nothing is written outside of the folder."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sr.runtime.error import UserError
from sr.track.run_address import PREFIX

MAX_DECODINGS = 5  # a name that is percent-encoded more often is refused
MAX_NAMES_SHOWN = 5


def resolve_artifact_path(root: Path, name: str, run_id: str = "") -> Path:
    """Return the path of the artifact `name` below `root`.

    Raises unless the name is a plain relative one, percent-decoded as well, and if a link leads out of `root`.
    """
    for readable in _decode_repeatedly(name) if isinstance(name, str) else [""]:
        parts = readable.split("/")
        if any(part in ("", ".", "..") for part in parts) or re.search(r"[\0-\x1f\\]|^[A-Za-z]:", readable):
            _refuse(name, run_id, "expected a name such as config.yaml or images/a.png, below the run's own folder")
    path = root / name
    try:
        is_inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to itself
        is_inside = False
    if not is_inside:
        _refuse(name, run_id, f"there is a link in {root} that leads out of it")
    return path


class RunArtifacts:
    """The artifacts of one run, for `download_artifact` in place of a client, which asks for the run before each of them."""

    def __init__(self, location: str, uri: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        self._repository = get_artifact_repository(location, tracking_uri=uri)
        self._listed: dict[str | None, list[Any]] = {}

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[Any]:
        """Return what is in a folder, of which the server is asked once."""
        if path not in self._listed:
            self._listed[path] = self._repository.list_artifacts(path)
        return self._listed[path]

    def download_artifacts(self, run_id: str, path: str, dst_path: str) -> str:
        """Download a file to a folder and return its path."""
        return self._repository.download_artifacts(path, dst_path)


def download_artifact(client: Any, run_id: str, name: str, folder: Path) -> Path:
    """Download the file `name` of an MLflow run to its place in `folder`, whole or not at all.

    Before anything is written, all names that the server lists in the same folder are checked, because MLflow's client
    uses them as paths. It writes to a temporary folder, and only the requested file is moved from there.
    """
    path = resolve_artifact_path(folder, name, run_id)
    listed = _list_folder(client, run_id, name.rpartition("/")[0], folder)
    if name not in listed:
        names = ", ".join(sorted(listed)[:MAX_NAMES_SHOWN])
        raise UserError(f"{PREFIX}{run_id} has no artifact {name}" + (f"; there are {names} …" if names else ""))
    if listed[name]:
        _refuse(name, run_id, "expected a file, and it is a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetched-") as temporary:
        received = Path(client.download_artifacts(run_id, name, temporary))
        is_file = received.is_file() and not received.is_symlink()
        is_inside = is_file and received.resolve().is_relative_to(Path(temporary).resolve())
        if not is_inside or received.name != path.name:
            _refuse(name, run_id, f"expected a file of this name in {temporary}, and {received} came")
        path.parent.mkdir(parents=True, exist_ok=True)
        return received.replace(path)


def _list_folder(client: Any, run_id: str, parent: str, folder: Path) -> dict[str, bool]:
    """Return the artifacts in a folder of the run: name -> whether it is a folder. Raises if a name is not safe."""
    listed = {info.path: info.is_dir for info in client.list_artifacts(run_id, parent or None)}
    for name in listed:
        resolve_artifact_path(folder, name, run_id)
        if name.rpartition("/")[0] != parent:
            _refuse(name, run_id, f"the server lists it in {parent or 'the uppermost folder'}")
    return listed


def _decode_repeatedly(name: str) -> Iterator[str]:
    """Yield the name as it is, and each form that percent-decoding gives; last an empty one if there is no end to them."""
    for _ in range(MAX_DECODINGS):
        yield name
        if unquote(name) == name:
            return
        name = unquote(name)
    yield ""


def _refuse(name: str, run_id: str, reason: str) -> None:
    source = f"{PREFIX}{run_id}" if run_id else "the server"
    raise UserError(f"{source} has an artifact {name!r}, which is not taken: {reason}")
