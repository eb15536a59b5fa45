"""`track=none`: every call is taken and nothing is kept. Also the list of what a tracker has to offer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL.Image import Image
from pytorch_lightning.loggers import Logger

from sr.runtime.error import UserError


class NoTracker(Logger):
    """A tracker that tracks nothing."""

    run_id: str | None = None
    location: str | None = None  # where the runs are, for the user
    view_command: str | None = None  # how to look at them, for the user

    def __init__(self, panels: int = 0, system_every: float | None = None) -> None:
        super().__init__()
        self.panels = panels  # pictures to show of each set
        every = system_every
        if every is not None and (isinstance(every, bool) or not isinstance(every, int | float) or every <= 0):
            raise UserError(f"track.system_every={every}: expected seconds, above 0, or null for none")
        self.system_every = every  # s between two samples of the machine

    @property
    def name(self) -> str:
        return "none"

    @property
    def version(self) -> str | None:
        return self.run_id

    def start(self, title: str, folder: Path, config: dict[str, Any], typed: list[str], tags: dict[str, str]) -> None:
        """Open the run; `folder` is where it may keep files, `typed` the overrides of the command line."""

    def log_points(self, values: dict[str, Any], step: int) -> None:
        """Record scalars; tensors may be given as they are; those of a GPU are read later, in another thread."""

    def log_image(self, key: str, image: Image | Callable[[], Image], step: int) -> None:
        """Record a picture, or what makes one: that is called later, in another thread."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Keep a file of this path."""

    def log_text(self, name: str, text: str) -> None:
        """Keep a text under this file name."""

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag of the run."""

    def log_dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Say which images this run used: their set, its fingerprint, where they lie, and what for (train, val, test)."""

    def flush(self) -> None:
        """Returns when all that was recorded so far is safe on the disk; raises `UserError` where it cannot be."""

    def call_when_flushed(self, do: Callable[[], None]) -> None:
        """Call `do` once all that was recorded so far is safe on the disk: at once, or later in another thread."""
        do()

    def mark_saved(self, step: int) -> None:
        """A checkpoint of this step is on the disk: what was recorded up to it will not be superseded any more."""

    def rewind(self, step: int) -> None:
        """Training goes on from a checkpoint of this step: points and pictures of later ones are superseded."""

    def find_checkpoint(self, run_id: str) -> str:
        """The path of the best checkpoint of a tracked run."""
        raise UserError(f"checkpoint=mlflow:{run_id} needs track=mlflow: this tracker knows no runs")

    def close(self, status: str, exit: str | None = None) -> None:
        """Close the run: FINISHED, FAILED or KILLED, and `exit` says why it is not FINISHED."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Lightning's own way in; the same as `points`."""
        self.log_points(metrics, step or 0)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the whole config goes in at the start."""
