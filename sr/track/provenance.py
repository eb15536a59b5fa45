"""Where a run comes from: code, packages, machine."""

import platform
import shlex
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import torch
import yaml


def git() -> dict[str, str]:
    """SHA, branch and whether the tree is dirty, of the checkout that `sr` runs from; empty outside of one."""
    sha = _git("rev-parse", "HEAD")
    if not sha:
        return {}
    return {
        "sha": sha.strip(),
        "branch": _git("rev-parse", "--abbrev-ref", "HEAD").strip(),
        "dirty": str(bool(_git("status", "--porcelain"))).lower(),
    }


def texts(verb: str, config: dict, overrides: list[str]) -> dict[str, str]:
    """Files to keep with the run, by name."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    about = {
        "command": f"python -m sr.{verb} {shlex.join(overrides)}",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "git": git(),
    }
    return {
        "config.yaml": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        "overrides.yaml": yaml.safe_dump(overrides, allow_unicode=True),
        "environment.yaml": yaml.safe_dump(about, sort_keys=False, allow_unicode=True),
        "packages.txt": _packages(),
        "changes.txt": _git("diff", "HEAD"),
    }


@lru_cache
def _packages() -> str:
    """`name==version` in each line; a fifth of a second, once a process."""
    found = [(d.metadata["Name"], d.version) for d in metadata.distributions()]
    return "\n".join(dict.fromkeys(sorted(f"{name}=={version}" for name, version in found if name))) + "\n"


def _git(*words: str) -> str:
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():  # installed from a wheel, perhaps inside somebody else's repository
        return ""
    command = ["git", "-C", str(checkout), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
