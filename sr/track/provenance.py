"""Where a run comes from, as files of its folder: config, command, code, packages, machine."""

import os
import platform
import shlex
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.core.hydra_config import HydraConfig

from sr.track import code, machine

FILES = (
    "config.yaml",
    "overrides.yaml",
    "choices.yaml",
    "environment.yaml",
    "packages.txt",
    "changes.patch",
    "data.json",
)


def files(
    verb: str,
    config: dict[str, Any],
    choices: dict[str, str],
    typed: Sequence[str],
    device: torch.device,
) -> dict[str, bytes]:
    """Their contents by name; `changes.patch` only of a dirty tree. About half a second."""
    checkout = code.checkout()
    paths = [Path(path).expanduser().resolve() for path in config.get("paths", {}).values() if path]
    changes = code.changes(checkout, paths) if checkout else code.Changes()
    about = {
        "command": command(verb, [*(f"--config-dir={parts}" for parts in own_parts()), *typed]),
        "folder": str(Path.cwd()),
        "seed": config.get("seed"),
        "git": code.state(checkout),
        "not_in_patch": list(changes.left_out),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": machine.facts(),
        "flags": machine.flags(),
        "device": str(device),
        "gflops": machine.speed(device),
    }
    texts = {
        "config.yaml": _yaml(config),
        "overrides.yaml": _yaml(list(typed)),
        "choices.yaml": _yaml({group: choice for group, choice in choices.items() if choice is not None}),
        "environment.yaml": _yaml(about),
        "packages.txt": packages(),
    }
    found = {name: text.encode() for name, text in texts.items()}
    return found | ({"changes.patch": changes.patch} if changes.patch else {})


def command(verb: str, words: Sequence[str]) -> str:
    """What repeats the run, typed in its commit with its patch. SR_DATA is part of it where it was set."""
    data = os.environ.get("SR_DATA")
    before = f"SR_DATA={shlex.quote(data)} " if data and not any(w.startswith("paths.data=") for w in words) else ""
    return f"{before}python -m sr.{verb} {shlex.join(words)}".rstrip()


def own_parts() -> list[str]:
    """The folders that `--config-dir` named."""
    if not HydraConfig.initialized():
        return []
    return [source.path for source in HydraConfig.get().runtime.config_sources if source.provider == "command-line"]


@lru_cache
def packages() -> str:
    """`name==version` in each line; a fifth of a second, once a process."""
    found = [(d.metadata["Name"], d.version) for d in metadata.distributions()]
    return "\n".join(dict.fromkeys(sorted(f"{name}=={version}" for name, version in found if name))) + "\n"


def _yaml(node: Any) -> str:
    return yaml.safe_dump(node, sort_keys=False, allow_unicode=True)
