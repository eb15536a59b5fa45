"""Locate the folder of the run that the user names: a local one, or one downloaded from the tracker."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sr.record.identity import find_run
from sr.reproduction.recorded_run import OPTIONAL_FILES, REQUIRED_FILES
from sr.runtime.error import UserError
from sr.track.fetch_run import fetch_run
from sr.track.run_address import parse_run_id

TRACKER_ID = re.compile(r"[0-9a-f]{32}")


class LocatedRun(NamedTuple):
    """The folder of a run."""

    folder: Path
    tracker_id: str | None = None  # of a downloaded run, which has no weights and no values that are not finite


@contextlib.contextmanager
def locate_run(word: str, uri: str | None, runs: Path) -> Iterator[LocatedRun]:
    """Yield the folder of the run that `word` names.

    `word` is a folder, the name of one in `runs` (`paths.runs`), or an id, ours or the tracker's. A run that is not in
    `runs` is downloaded from the tracking server at `uri` to a temporary folder, which is removed after the block.
    """
    run_id = parse_run_id(word) or word
    try:
        folder = find_run(runs, run_id, "run").resolve()
    except UserError:
        if not TRACKER_ID.fullmatch(run_id):
            raise
        folder = None
    if folder is not None:
        yield LocatedRun(folder)
        return
    with tempfile.TemporaryDirectory(prefix="sr-run-") as temporary:
        fetch_run(run_id, uri, runs, Path(temporary), REQUIRED_FILES, OPTIONAL_FILES)
        yield LocatedRun(Path(temporary), run_id)
