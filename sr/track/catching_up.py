"""What MLflow missed of runs, because it was not there, or a run ended without a word."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from sr.error import UserError
from sr.track import identity, lines
from sr.track.life import set_right
from sr.track.upload import Upload, address, reason


def catch_up(folders: Sequence[str], runs: str, uri: str | None = None) -> bool:
    """Send what is left of these runs, or of all in `runs`, to `uri` or to where each belongs; whether all was taken."""
    place = Path(runs).resolve()
    set_right(place)
    well, count = True, 0
    for folder in _named(folders, place) if folders else _unsent(place, uri):
        count += 1
        well = _sent(folder, uri) and well
    if not count:
        print(f"{place}: MLflow has all of its runs")
    return well


def _named(folders: Sequence[str], runs: Path) -> Iterator[Path]:
    for word in folders:
        folder = identity.find(runs, word, "folders")
        if not (folder / lines.NAME).exists():
            raise UserError(f"{folder}: there is no {lines.NAME} in it; expected a run's folder")
        yield folder.resolve()


def _unsent(runs: Path, uri: str | None) -> Iterator[Path]:
    for folder, known in identity.known(runs):
        if not known.lives and not Upload(folder, uri or address(known, runs), runs).complete:
            yield folder


def _sent(folder: Path, uri: str | None) -> bool:
    known, runs = identity.read(folder), folder.parent
    if known and known.lives:
        print(f"{folder.name}: is running, and sends itself")
        return True
    upload = Upload(folder, uri or address(known, runs), runs)
    try:
        with FileLock(folder / ".sync.lock"):
            upload.pump()
    except Exception as error:  # whatever MLflow raises
        print(f"{folder.name}: not sent ({reason(error)}); {upload.left} points and pictures wait", file=sys.stderr)
        return False
    if known and known.run_id is None and uri in (None, known.uri):
        known.run_id = upload.run_id
        identity.write(folder, known)
    held = f"; {upload.left} of later steps than its checkpoint wait for it to be resumed" if upload.left else ""
    print(
        f"{folder.name}: {upload.sent} entries sent{held}" if upload.sent else f"{folder.name}: nothing to send{held}"
    )
    return True
