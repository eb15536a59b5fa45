"""Run a recorded run again: its command line with this machine's paths, its flags, and its code, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from sr.config.command_line import quote_override
from sr.config.execution import list_execution_words
from sr.lifecycle.provenance import FILE_OPTIONS
from sr.lifecycle.run_start import REPRODUCES
from sr.record.machine import VARIABLES
from sr.reproduction.environment import get_section
from sr.reproduction.parts import list_new_words
from sr.reproduction.recorded_run import RecordedRun
from sr.runtime.error import UserError
from sr.track.run_address import is_address

REPLACED_OPTIONS = ("paths.", "track.uri", "track.runs", "hydra", "resume")  # not taken from the run's command line
LOCAL_VARIABLES = ("SR_DATA", "CUDA_VISIBLE_DEVICES")  # this machine's, not the run's
GRACE_PERIOD = 120.0  # seconds that an interrupted run has for saving
# The repetition runs the code of another commit. The line with its folder is what every commit of sr prints.
FOLDER_LINE = re.compile(r"folder\s+(/.+)")


class LocalPaths(NamedTuple):
    """The folders that the repetition reads and writes."""

    working_dir: Path
    data: Path
    runs: Path
    cache: Path | None


def resolve_paths(run: RecordedRun, paths: dict[str, str | None]) -> LocalPaths:
    """Choose the paths of the repetition; `paths` are those of the config.

    The working directory is the run's, if this machine has it: paths on its command line may be relative to it. The
    image sets are looked for in `paths.data`, else where they were, else in SR_DATA.
    """
    recorded = Path(str(run.environment.get("folder")))
    working_dir = recorded if recorded.is_dir() else Path.cwd()
    data = working_dir / str(get_section(run.config, "paths").get("data"))
    data = paths["data"] or (str(data) if data.is_dir() else os.environ.get("SR_DATA") or str(data))
    data, runs, cache = (Path(p).expanduser().resolve() if p else None for p in (data, paths["runs"], paths["cache"]))
    return LocalPaths(working_dir, data, runs, cache)


def build_command(
    run: RecordedRun,
    tree: Path,
    paths: LocalPaths,
    resumed: Path | None = None,
    before: RecordedRun | None = None,
) -> list[str]:
    """Return the run's command line with the paths of this machine; `tree` is the worktree of its commit.

    Of `resume=` only a checkpoint file is taken over, from which the run began. What `perf=` chose is repeated, not
    measured again, and a model's version is the one that its alias pointed to. A later part of a run continues the
    repetition `resumed` of the part `before`, with the options that it changed.
    """
    if resumed is not None:
        words = [*list_new_words(run, before), f"resume={quote_override(str(resumed))}"]
    else:
        words = [
            word
            for word in run.overrides
            if not word.lstrip("+~").startswith(REPLACED_OPTIONS) or _is_initial_checkpoint(word, paths.working_dir)
        ]
        words += [word for word in list_execution_words(run.config) if word not in words]
        versions = get_section(run.environment, "versions")  # of models that were named by an alias
        words += [f"{o}={quote_override(str(versions[o]))}" for o in FILE_OPTIONS if is_address(str(versions.get(o)))]
    local = [f"paths.data={paths.data}", f"paths.runs={paths.runs}"]
    local += [f"paths.cache={paths.cache}"] if paths.cache else []
    in_checkout = [f"--config-dir={tree / folder}" for folder in run.config_dirs_in_checkout]
    config_dirs = in_checkout or [f"--config-dir={folder}" for folder in run.config_dirs]  # Hydra accepts one
    return ["python", "-m", f"sr.{run.command}", *config_dirs, *words, *local]


def build_variables(run: RecordedRun, tree: Path) -> dict[str, str]:
    """Return the environment variables of a process that imports `sr` from the worktree and has the run's flags."""
    flags = get_section(run.environment, "flags")
    recorded = get_section(flags, "variables") | {"OMP_NUM_THREADS": flags.get("threads")}
    inherited = {k: v for k, v in os.environ.items() if k not in VARIABLES or k in LOCAL_VARIABLES}
    taken_over = {
        k: str(v) for k, v in recorded.items() if k in VARIABLES and k not in LOCAL_VARIABLES and v is not None
    }
    python_path = os.pathsep.join(filter(None, (str(tree), os.environ.get("PYTHONPATH"))))
    # PYTHONSAFEPATH: the working directory may contain an `sr` of its own.
    python = {"PYTHONPATH": python_path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    return inherited | taken_over | python | {REPRODUCES: run.id}


def repeat_run(
    run: RecordedRun, tree: Path, paths: LocalPaths, resumed: Path | None = None, before: RecordedRun | None = None
) -> Path:
    """Run it with the code in `tree`, show its output, and return the folder of the new run; arguments as above."""
    command = [sys.executable, *build_command(run, tree, paths, resumed, before)[1:]]
    print(flush=True)
    folder = None
    process = subprocess.Popen(
        command, cwd=paths.working_dir, env=build_variables(run, tree), stdout=subprocess.PIPE, text=True,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            match = FOLDER_LINE.fullmatch(line.rstrip("\n"))
            folder = Path(match[1]) if match else folder
        code = process.wait()
    except BaseException:  # Ctrl-C as well: the run saves what it has
        process.send_signal(signal.SIGINT)
        _wait_or_kill(process)
        raise
    finally:
        process.stdout.close()
    if code or folder is None:
        raise UserError(f"the repetition ended with exit code {code}, so there is nothing to compare")
    return folder


def _is_initial_checkpoint(word: str, working_dir: Path) -> bool:
    """Return whether an override names a checkpoint file that the run began with."""
    key, _, value = word.partition("=")
    return key == "resume" and (working_dir / Path(value.strip("'\"")).expanduser()).is_file()


def _wait_or_kill(process: subprocess.Popen) -> None:
    try:
        process.wait(GRACE_PERIOD)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C
        process.kill()
        process.wait()
