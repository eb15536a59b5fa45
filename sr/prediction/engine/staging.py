"""The hidden folder for the incomplete results of `engine=ray`, in the folder of the results."""

import shutil
import time
from pathlib import Path

from sr.prediction.process_name import is_process_ended, name_process

PREFIX, SUFFIX = ".predict-", ".staging"
STAGING_SECONDS = 86400  # age at which a folder is removed if it is not known whether its process has ended


def name_staging(run: str) -> str:
    """Return the name of the folder of this process for a run."""
    return f"{PREFIX}{run}+{name_process()}{SUFFIX}"


def remove_old_staging(folder: Path) -> None:
    """Remove the folders of commands that were killed: their process has ended, or they are old."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}/"):
        _, _, process = path.name.removesuffix(SUFFIX).partition("+")
        if is_process_ended(process) or time.time() - path.stat().st_mtime > STAGING_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
