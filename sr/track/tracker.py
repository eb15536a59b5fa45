"""The interface of a tracker: where a run reports its metrics, images, files and tags.

A tracker of your own takes two files: a module with a subclass of `Tracker`, and `conf/track/NAME.yaml` (or the same below a
folder that `--config-dir` names) with its `_target_` and the arguments of its constructor; `track=NAME` then selects it.
Implement the abstract methods. The others have defaults that are right for a tracker that reports at once, never goes
back to an earlier step, and cannot be asked for the checkpoints of other runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from PIL.Image import Image

from sr.runtime.option_types import NonNegativeInt, PositiveFloat
from sr.track.stored_checkpoint import find_file


class Tracker(ABC):
    """One run as a tracker sees it: `start`, then any number of reports from any thread, then `close`.

    Only the first of several processes has a tracker; the others have a `NoTracker`. The training thread reports at every
    step, so that no method but `wait_for_page` and `close` may wait for a network, and tensors of a GPU should be read in
    another thread.
    """

    is_tracking: ClassVar[bool] = True  # False: reports are dropped, and a run cannot be resumed from what was tracked
    checkpoints: Literal["best", "all", "none"] = "none"  # files that the end of a run reports by `log_file`
    run_id: str | None = None  # the tracker's own ID of the run, once it has one
    location_line: str | None = None  # a line for the end of a run, `MLflow      http://…`: where its results are shown
    view_command: str | None = None  # how to open them: an address, or what to type after `python -m`

    def __init__(
        self,
        panels: NonNegativeInt = 0,
        system_interval: PositiveFloat | None = None,
        params: Literal["short", "all"] = "short",
    ) -> None:
        self.panels = panels  # images of each set to show in panels
        self.params = params  # options that are reported as parameters: see `select_hyperparameters`
        self.system_interval = system_interval  # seconds between two samples of the system metrics; None: no samples

    @abstractmethod
    def start(
        self, title: str, folder: Path, params: dict[str, str], overrides: list[str], tags: dict[str, str]
    ) -> None:
        """Open the run, or reopen it if `folder` holds a run that is resumed.

        `folder` is the run's own and may hold files of the tracker; `config.yaml` there has the whole configuration.
        `params` are the options to show, by dotted key, and `overrides` the words of the command line.
        Tags begin with `sr.`: `sr.verb` (the command), `sr.seed`, `sr.git.commit`, `sr.user` and so on.
        """

    @abstractmethod
    def log_points(self, values: dict[str, Any], step: int) -> None:
        """Report scalars by name, such as `val/Set5/psnr`: numbers, or tensors of one element on any device."""

    @abstractmethod
    def log_image(self, key: str, image: Image | Callable[[], Image], step: int) -> None:
        """Report an image, or a function that draws it, which may be called later and in another thread."""

    @abstractmethod
    def log_file(self, path: Path, folder: str = "") -> None:
        """Store a file that lies in the run's folder; `folder` is where it goes among the stored files."""

    @abstractmethod
    def log_text(self, name: str, text: str) -> None:
        """Store a text as a file of this name (`summary.json`, or with folders: `crash/note.txt`)."""

    @abstractmethod
    def set_tag(self, key: str, value: str) -> None:
        """Set a tag of the run, or change it; a tracker may cut a long value off."""

    @abstractmethod
    def set_description(self, text: str) -> None:
        """Set the description of the run, in Markdown, for its page."""

    @abstractmethod
    def log_dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Report a set of images that the run uses: name, fingerprint, folder and use (`train`, `val` or `test`)."""

    @abstractmethod
    def close(self, status: str, exit: str | None = None) -> None:
        """Close the run as FINISHED, FAILED or KILLED; `exit` says why it is not FINISHED. Must not raise."""

    def wait_for_page(self) -> None:
        """Return when the run has its page in the tracker, and so a `run_id`, or will not get one soon."""

    def flush(self) -> None:
        """Return when all that was reported so far is safe on the disk; raise `DiskError` if it cannot be written."""

    def call_when_flushed(self, callback: Callable[[], None]) -> None:
        """Call `callback` once all that was reported so far is safe on the disk: at once, or later in another thread."""
        callback()

    def mark_saved(self, step: int) -> None:
        """Note that a checkpoint of `step` is on the disk, so that nothing up to this step will be reported again."""

    def rewind(self, step: int) -> None:
        """Note that training resumes from a checkpoint of `step`, so that points and images of later steps are void."""

    def find_checkpoint(self, address: str) -> Path:
        """Return the checkpoint of an address of MLflow (`sr.track.run_address`); raise `UserError` if there is none.

        A tracker that knows no MLflow finds it as commands without a tracker do.
        """
        return Path(str(find_file("checkpoint", address)))
