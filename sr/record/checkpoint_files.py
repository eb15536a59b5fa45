"""Names of the checkpoint files in a run's folder. No other module spells them.

They are here and not in `checkpoint/` because trackers, which may not import that package, name these files as well.
"""

from pathlib import Path

SUFFIX = ".ckpt"
BEST = "best.ckpt"  # best by `monitor`
LAST = "last.ckpt"  # of the newest step
PREVIOUS = "previous.ckpt"  # the one before `last.ckpt`
PART_SUFFIX = ".part"  # of a file that is still being written
LINK_SUFFIX = ".link"  # of a hard link that is about to replace a checkpoint
RESUMABLE = (LAST, PREVIOUS)  # newest first
_SUPERSEDED = "_until_"  # in the name of a best checkpoint by other validation sets than those of now


def name_best(measure: str) -> str:
    """Return the file name of the best checkpoint by a second metric: `best_spectrum.ckpt` for `spectrum`."""
    return f"best_{measure}{SUFFIX}"


def name_superseded(path: Path, step: int) -> Path:
    """Return where to move a best checkpoint whose validation sets were replaced at `step`: `best_until_900.ckpt`."""
    return path.with_stem(f"{path.stem}{_SUPERSEDED}{step}")


def list_best(folder: Path) -> list[Path]:
    """Return the best checkpoints in a run's folder, `best.ckpt` first, without the superseded ones."""
    named = (path for path in folder.glob(f"best_*{SUFFIX}") if _SUPERSEDED not in path.stem)
    return [path for path in (folder / BEST, *sorted(named)) if path.exists()]


def list_final(folder: Path) -> list[Path]:
    """Return the checkpoints that a finished run is compared by: the best ones, superseded ones too, then the last.

    `previous.ckpt` is not among them: its step depends on the clock (`checkpoint_minutes`).
    """
    best = list_best(folder)
    superseded = sorted(path for path in folder.glob(f"best*{_SUPERSEDED}*{SUFFIX}") if path not in best)
    return [*best, *superseded, *(path for path in (folder / LAST,) if path.exists())]


def list_checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoints in a folder, by name."""
    return sorted(folder.glob(f"*{SUFFIX}"))
