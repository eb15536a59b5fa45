"""Downloads from a tracking server: each file goes to its place, and nothing anywhere else, whatever the server says."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sr.runtime.error import UserError
from sr.track.artifact import download_artifact, resolve_artifact_path

NAMES = (
    "", "/", ".", "..", "/etc/passwd", "../a", "a/../../b", "a/..", "./a", "a/./b", "a//b", "a/", "//a", "C:/a", "c:a", "C:\\a",
    "..\\a", "a\\b", "\\\\server\\a", "a\0b", "a\nb", "%2e%2e/a", "%252e%252e/a", "..%2fa", "a%00", "%2fetc/passwd", "%5ca",
    "%2525252525252e",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_outside_of_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        resolve_artifact_path(tmp_path / "root", name, "abc")
    assert str(refusal.value).startswith(f"mlflow:abc has an artifact {name!r}, which is not taken: ")


@pytest.mark.parametrize(
    "name", ["config.yaml", "images/a+step+3.png", "a b/..c/d..", "100%.txt", "a%20b", "ü/…", "ab:c"]
)
def test_plain_relative_names_are_accepted(name: str, tmp_path: Path) -> None:
    assert resolve_artifact_path(tmp_path, name) == tmp_path / name


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "in").symlink_to(root / "real")
    (root / "out").symlink_to(tmp_path)
    (root / "file").symlink_to(tmp_path / "elsewhere")
    (root / "round").symlink_to(root / "round")
    assert resolve_artifact_path(root, "in/a.txt") == root / "in" / "a.txt"
    for name in ("out/a.txt", "out", "file", "round", "round/a.txt"):
        with pytest.raises(UserError, match=r"a link in .* leads out of it"):
            resolve_artifact_path(root, name, "abc")
    (tmp_path / "link").symlink_to(root)  # the root itself may be reached by one
    assert resolve_artifact_path(tmp_path / "link", "real/a.txt")


class Server:
    """An MLflow client of a server that lists any names, and writes files wherever their names lead."""

    def __init__(self, files: dict[str, str], listed: list[tuple[str, bool]] | None = None) -> None:
        self.files, self.listed, self.requested = files, listed, []

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[Any]:
        listed = [(name, False) for name in self.files] if self.listed is None else self.listed
        return [SimpleNamespace(path=name, is_dir=is_dir) for name, is_dir in listed]

    def download_artifacts(self, run_id: str, path: str, dst_path: str) -> str:
        self.requested.append(path)
        for name, text in self.files.items():
            place = Path(dst_path) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return str(Path(dst_path) / path)


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_one_file_is_downloaded_to_its_place(tmp_path: Path) -> None:
    """Replace an older file, and leave behind whatever else the client downloads."""
    folder = tmp_path / "new"
    server = Server({"images/a.png": "pixels"})
    for text in ("pixels", "others"):
        server.files["images/a.png"] = text
        assert download_artifact(server, "abc", "images/a.png", folder) == folder / "images" / "a.png"
        assert files(folder) == {"images/a.png": text}
    server = Server({"summary.json": "{}", "more.txt": "more"})
    download_artifact(server, "abc", "summary.json", tmp_path / "other")
    assert files(tmp_path / "other") == {"summary.json": "{}"}


@pytest.mark.parametrize("evil", ["../evil", "/tmp/sr-evil", "a/../../evil", "..\\evil", "images/a.png"])
def test_all_listed_names_are_checked_before_anything_is_written(evil: str, tmp_path: Path) -> None:
    """The last of these names is harmless, but in a folder that was not requested."""
    folder = tmp_path / "inner" / "folder"
    server = Server({"summary.json": "{}", evil: "evil"})
    with pytest.raises(UserError, match=r"mlflow:abc has an artifact .*not taken"):
        download_artifact(server, "abc", "summary.json", folder)
    assert server.requested == []
    assert files(tmp_path) == {}


def test_the_requested_name_is_checked_too(tmp_path: Path) -> None:
    server = Server({"../evil": "evil"})
    with pytest.raises(UserError, match="not taken"):
        download_artifact(server, "abc", "../evil", tmp_path / "folder")
    with pytest.raises(UserError, match=r"'images'.*expected a file, and it is a folder"):
        download_artifact(Server({}, [("images", True)]), "abc", "images", tmp_path / "folder")
    with pytest.raises(UserError, match=r"mlflow:abc has no artifact missing\.json; there are a\.txt …"):
        download_artifact(Server({"a.txt": ""}), "abc", "missing.json", tmp_path / "folder")
    assert server.requested == []
    assert files(tmp_path) == {}


def test_a_downloaded_link_or_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")

    class Linking(Server):
        def download_artifacts(self, run_id: str, path: str, dst_path: str) -> str:
            (Path(dst_path) / path).symlink_to(secret)
            return str(Path(dst_path) / path)

    class Elsewhere(Server):
        def download_artifacts(self, run_id: str, path: str, dst_path: str) -> str:
            return str(secret)

    for server in (Linking({"a.json": ""}), Elsewhere({"a.json": ""})):
        with pytest.raises(UserError, match=r"'a\.json'.*not taken: expected a file of this name"):
            download_artifact(server, "abc", "a.json", tmp_path / "folder")
    assert files(tmp_path) == {"secret": "mine"}


@pytest.mark.slow
def test_the_file_of_a_real_run(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("test", artifact_location=(tmp_path / "mlartifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    client.log_text(run_id, "{}", "summary.json")
    client.log_text(run_id, "pixels", "images/a.txt")
    for name, text in (("summary.json", "{}"), ("images/a.txt", "pixels")):
        assert download_artifact(client, run_id, name, tmp_path / "got").read_text() == text
    with pytest.raises(UserError, match=f"mlflow:{run_id} has no artifact missing"):
        download_artifact(client, run_id, "missing", tmp_path / "got")
    shutil.rmtree(tmp_path / "mlartifacts")
