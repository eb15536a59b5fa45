"""The starting point of a training: step 0, or a checkpoint of this run or of another one."""

from pathlib import Path
from typing import Any, NamedTuple

from sr.data.patches import START, DataPosition
from sr.pretrained.state_dict import read_weights
from sr.training.branch import find_checkpoint
from sr.training.resume import find_newest_checkpoint

BEFORE_START = -1  # the step of a run that was killed before its first checkpoint: the untrained net is evaluated again


class StartingPoint(NamedTuple):
    """The run that is resumed, and the checkpoint from which training continues."""

    resumed_folder: Path | None = None  # of a run that is resumed; None: a new run
    checkpoint: Path | None = None
    step: int = BEFORE_START
    position: DataPosition = START  # in the training images

    @property
    def parent_folder(self) -> Path | None:
        """The folder of the run whose checkpoint a new run continues from."""
        return self.checkpoint.parent if self.checkpoint and not self.resumed_folder else None


def find_starting_point(config: dict[str, Any]) -> StartingPoint:
    """Return where `resume=` lets the training start: a run's folder resumes that run, a checkpoint begins a new run."""
    path = Path(config["resume"] or "").expanduser()
    folder = path.resolve() if config["resume"] and path.is_dir() else None
    checkpoint = find_newest_checkpoint(folder) if folder else find_checkpoint(config)
    if checkpoint is None:
        return StartingPoint(folder)
    content = read_weights(checkpoint)
    batches = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    return StartingPoint(folder, checkpoint, content["global_step"], DataPosition(content["epoch"], batches))
