"""Downloads from a local server: complete, interrupted and continued, wrong, and without a network."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sr.pretrained.download import download_file, lock_download, verify_checksum
from sr.runtime.error import UserError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = "http://127.0.0.1:9/set.tar.gz"  # the discard port, where nothing listens


class Server(ThreadingHTTPServer):
    """A server of `content`; it closes the connection after `break_after` bytes, and ignores Range if `ranges` is False."""

    content = CONTENT
    break_after: int | None = None
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []  # the Range of each request
        self.url = f"http://127.0.0.1:{self.server_port}/set.tar.gz"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "sets" / "set.tar.gz"  # in a folder that does not exist yet


def there(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_download_is_complete_and_has_its_name(target: Path, server: Server) -> None:
    download_file(server.url, target, SHA256)
    assert target.read_bytes() == CONTENT
    assert there(target) == ["set.tar.gz"]
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_continued_or_restarted(target: Path, server: Server, ranges: bool) -> None:
    server.break_after, server.ranges = 1000, ranges
    with pytest.raises(UserError, match=f"lost after 1000 of {len(CONTENT)} bytes.*Run again to continue"):
        download_file(server.url, target, SHA256)
    assert there(target) == ["set.tar.gz.part"]
    server.break_after = None
    download_file(server.url, target, SHA256)
    assert target.read_bytes() == CONTENT
    assert there(target) == ["set.tar.gz"]
    assert server.asked == [None, "bytes=1000-"]


def test_a_download_interrupted_twice_continues_from_the_second_interruption(target: Path, server: Server) -> None:
    server.break_after = 1000
    for _ in range(2):
        with pytest.raises(UserError, match="connection was lost"):
            download_file(server.url, target, SHA256)
    server.break_after = None
    download_file(server.url, target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=2000-"]


def test_a_complete_download_that_was_not_renamed_is_used(target: Path, server: Server) -> None:
    target.parent.mkdir()
    (target.parent / "set.tar.gz.part").write_bytes(CONTENT)
    download_file(server.url, target, SHA256)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [b"", b"of another file"], ids=["whole", "continued"])
def test_a_file_with_a_wrong_checksum_is_removed(target: Path, server: Server, begun: bytes) -> None:
    target.parent.mkdir()
    (target.parent / "set.tar.gz.part").write_bytes(begun)
    server.content = CONTENT if begun else CONTENT[:-5] + b"wrong"
    with pytest.raises(UserError, match=f"wrong checksum .expected sha256 {SHA256}") as error:
        download_file(server.url, target, SHA256)
    assert f"put the file here: {target}" in str(error.value)
    assert there(target) == []


@pytest.mark.parametrize("url", [NOWHERE, "not an address", "nosuch://host/file", "file:///nowhere/set.tar.gz"])
def test_without_a_network_the_message_says_where_to_put_the_file(
    target: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match=f"^{re.escape(url)}: download failed") as error:
        download_file(url, target, SHA256)
    assert f"download {url} elsewhere and put the file here: {target}" in str(error.value)


def test_a_missing_page_is_a_failed_download(target: Path, server: Server) -> None:
    server.RequestHandlerClass = type("Missing", (Handler,), {"do_GET": lambda self: self.send_error(404)})
    with pytest.raises(UserError, match=r"download failed \(Not Found\)"):
        download_file(server.url, target, SHA256)
    assert there(target) == []


def test_an_invalid_response_is_a_failed_download(target: Path, server: Server) -> None:
    server.RequestHandlerClass = type("Moo", (Handler,), {"do_GET": lambda self: self.wfile.write(b"moo\r\n\r\n")})
    with pytest.raises(UserError, match="download failed"):
        download_file(server.url, target, SHA256)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, server: Server) -> None:
    (tmp_path / "set.tar.gz.part").mkdir()
    with pytest.raises(UserError, match="cannot be written") as error:
        download_file(server.url, tmp_path / "set.tar.gz", SHA256)
    assert str(tmp_path / "set.tar.gz.part") in str(error.value)


@pytest.mark.parametrize("checksum", ["", "abc", "no digits at all"])
def test_a_checksum_that_would_accept_any_file_is_refused_before_the_download(
    target: Path, server: Server, checksum: str
) -> None:
    with pytest.raises(UserError, match=f"sha256={checksum}: expected the 64 hexadecimal digits"):
        download_file(server.url, target, checksum)
    assert server.asked == []
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(CONTENT)
    with pytest.raises(UserError, match=f"sha256={checksum}: expected"):
        verify_checksum(target, checksum)
    verify_checksum(target, SHA256[:8])  # torchvision publishes the first digits only


def test_a_failed_download_leaves_no_lock_file(target: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    target.parent.mkdir()
    with pytest.raises(UserError, match="download failed"), lock_download(target):
        assert there(target) == [".set.tar.gz.lock"]
        download_file(NOWHERE, target, SHA256)
    assert there(target) == []
    with lock_download(target):
        download_file(server.url, target, SHA256)
    assert there(target) == ["set.tar.gz"]


def test_one_process_at_a_time_downloads_a_file(target: Path) -> None:
    target.parent.mkdir()
    active, most = [], []

    def download(number: int) -> None:
        with lock_download(target):
            active.append(number)
            most.append(len(active))
            time.sleep(0.02)
            active.remove(number)

    threads = [threading.Thread(target=download, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6
