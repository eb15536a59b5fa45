"""What MLflow missed of runs, because it was not there, or a run ended without a word."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sr.record.identity import find_run, list_runs, read_identity
from sr.record.journal_format import JOURNAL_FILE
from sr.record.orphans import mark_orphaned_runs
from sr.runtime.error import UserError
from sr.track.server import describe_error, resolve_address
from sr.track.upload import Upload, send_run


def sync_runs(folders: Sequence[str], runs: str, uri: str | None = None) -> bool:
    """Send what is left of these runs, or of all in `runs`, to `uri` or to where each belongs; whether all was taken."""
    place = Path(runs).resolve()
    named = list(_named(folders, place))
    for parent in {place, *(folder.parent for folder in named)}:
        mark_orphaned_runs(parent)
    chosen = named or list(_unsent(place, uri))
    if not chosen:
        print(f"{place}: MLflow has all of its runs")
    taken = [_sent(folder, uri) for folder in chosen]  # each of them is tried
    return all(taken)


def _named(folders: Sequence[str], runs: Path) -> Iterator[Path]:
    for word in folders:
        folder = find_run(runs, word, "folders")
        if not (folder / JOURNAL_FILE).exists():
            raise UserError(f"{folder}: there is no {JOURNAL_FILE} in it; expected a run's folder")
        yield folder.resolve()


def _unsent(runs: Path, uri: str | None) -> Iterator[Path]:
    for folder, known in list_runs(runs):
        there = (folder / JOURNAL_FILE).exists()
        if there and not known.is_alive and not Upload(folder, uri or resolve_address(known, runs), runs).complete:
            yield folder


def _sent(folder: Path, uri: str | None) -> bool:
    where = uri or resolve_address(read_identity(folder), folder.parent)
    try:
        upload = send_run(folder, where, elsewhere=uri is not None)
    except Exception as error:  # whatever MLflow raises
        left = Upload(folder, where, folder.parent).left
        print(f"{folder.name}: not sent ({describe_error(error)}); {left} points and pictures wait", file=sys.stderr)
        return False
    if upload is None:
        print(f"{folder.name}: is running, and sends itself")
        return True
    held = f"; {upload.left} of later steps than its checkpoint wait for it to be resumed" if upload.left else ""
    print(f"{folder.name}: {f'{upload.sent} entries sent' if upload.sent else 'nothing to send'}{held}")
    return True
