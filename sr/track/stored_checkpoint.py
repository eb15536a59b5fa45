"""The checkpoints among a run's artifacts (`track.checkpoints`), so that `checkpoint=mlflow:RUN_ID` needs no run folder."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from sr.record.checkpoint_files import BEST
from sr.record.result import SUMMARY_FILE, read_run_result
from sr.runtime.error import UserError
from sr.track.address import describe_location, resolve_address
from sr.track.artifact import download_artifact
from sr.track.run_address import PREFIX, is_address, parse_run_id

FOLDER = "checkpoints"  # of the run's artifacts


def find_checkpoint(address: str, uri: str, option: str = "checkpoint") -> Path:
    """Return the checkpoint of an address of MLflow at `uri` (`sr.track.run_address`): a file, or a copy of what MLflow has.

    Of a run it is the best one, if the run has finished. The copy is removed when the process ends. Raise if there is none.
    """
    run_id = parse_run_id(address)
    if run_id is not None:
        return _find_run_checkpoint(run_id, uri, option)
    from sr.track.registry import fetch_checkpoint

    return fetch_checkpoint(address, uri, option)


def find_file(option: str, word: str | None, uri: str | None = None) -> str | None:
    """Return the file of an address of MLflow, and any other word as it is.

    The server is `uri`, else that of MLFLOW_TRACKING_URI, or the database in SR_RUNS or `runs`.
    """
    if word is None or not is_address(word):
        return word
    uri = uri or resolve_address(None, Path(os.environ.get("SR_RUNS") or "runs").resolve())
    return str(find_checkpoint(word, uri, option))


def _find_run_checkpoint(run_id: str, uri: str, option: str) -> Path:
    from sr.track.server import open_existing  # late: prediction imports this module, and seldom needs MLflow
    from sr.track.server_error import describe_error

    typed, location = f"{option}={PREFIX}{run_id}", describe_location(uri)
    folder = Path(tempfile.mkdtemp(prefix="sr-checkpoint-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        client = open_existing(uri)
        download_artifact(client, run_id, SUMMARY_FILE, folder)
        path = read_run_result(folder).checkpoint
    except Exception as error:  # whatever MLflow raises
        raise UserError(f"{typed}: no finished run of that id at {location} ({describe_error(error)})") from error
    if path is not None and Path(path).exists():
        return Path(path)
    try:
        return download_artifact(client, run_id, f"{FOLDER}/{BEST}", folder)
    except Exception as error:  # whatever MLflow raises
        raise UserError(
            f"{typed}: its checkpoint is neither on this machine ({path}) nor at {location}, where only runs with "
            f"track.checkpoints=best or all store it ({describe_error(error)}); if the run's folder was moved, give the file: "
            f"{option}=FOLDER/best.ckpt"
        ) from None
