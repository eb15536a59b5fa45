"""The Dockerfile, whose steps are executed without Docker: what it copies is enough to install and to start the service."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from documents import ROOT

from sr.runtime.launch import find_free_port

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def list_steps(name: str) -> list[str]:
    """Return what follows each instruction of this name."""
    return re.findall(rf"^{name} (.*)$", TEXT, re.MULTILINE)


def list_copied() -> list[str]:
    return [source for step in list_steps("COPY") for source in step.split()[:-1]]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    for source in list_copied():
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored


def test_extras_and_constraints_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    defaults = dict(step.split("=") for step in list_steps("ARG"))
    assert set(defaults["EXTRAS"].split(",")) <= set(project["optional-dependencies"])
    installs = [step for step in list_steps("RUN") if step.startswith("pip install")]
    assert all("--constraint constraints.txt" in step for step in installs)
    version = re.search(r"python:(\d\.\d+)", TEXT)[1]
    assert f"Python {version} to" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_service_runs_as_a_user_and_listens_on_all_addresses_by_an_option() -> None:
    assert TEXT.index("\nUSER sr\n") < TEXT.index("\nENTRYPOINT ")
    (entry_point,) = (json.loads(step) for step in list_steps("ENTRYPOINT"))
    assert entry_point[:3] == ["python", "-m", "sr.serve"]
    assert "host=0.0.0.0" in entry_point
    assert "\nhost: 127.0.0.1" in (ROOT / "conf/serve.yaml").read_text(encoding="utf-8")


def test_options_in_the_documents_are_those_of_the_service(sr: Any) -> None:
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    commands = [shlex.split(line, comments=True) for line in re.findall(r"^docker run .*$", page, re.MULTILINE)]
    services = [words[words.index("sr") + 1 :] for words in commands if "--entrypoint" not in words]
    assert services
    for words in services:
        answer = sr("serve", *words, "--cfg=job")
        assert answer.code == 0, answer.err
    assert set(re.findall(r"--build-arg (\w+)=", page)) == {step.split("=")[0] for step in list_steps("ARG")}


@pytest.mark.long
def test_the_service_starts_from_what_is_copied(tmp_path: Path) -> None:
    """Without a network: an unreachable proxy would be asked for whatever were downloaded. SIGTERM ends it."""
    build, site, home = (tmp_path / name for name in ("build", "site", "home"))
    build.mkdir()
    home.mkdir()
    for source in list_copied():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, build / source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(build)]
    subprocess.run(pip, check=True)
    shutil.rmtree(build)
    port = find_free_port()
    (entry_point,) = (json.loads(step) for step in list_steps("ENTRYPOINT"))
    words = [sys.executable, *entry_point[1:], f"port={port}"]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env = {**os.environ, **proxies, "PYTHONPATH": str(site), "HOME": str(home)}
    service = subprocess.Popen(words, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 100
        while not is_ready(port) and service.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert is_ready(port), service.communicate(timeout=20)
        service.send_signal(signal.SIGTERM)
        output, _ = service.communicate(timeout=60)
        assert service.returncode == 0, output
    finally:
        service.kill()
        service.wait()


def is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
