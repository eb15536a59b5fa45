"""`input=-` and `output=-`: an image on standard input, and the result on standard output, through temporary files."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, Self

from sr.prediction.sources import STDIN
from sr.runtime.error import UserError

STDOUT = "-"


class StreamFiles(NamedTuple):
    """Files in place of both streams; None: not used."""

    input: Path | None
    output: Path | None


class StandardStreams:
    """A context that reads standard input on entry, and has files in place of both streams; errors name the streams."""

    def __init__(self, input: Any, output: str | None) -> None:
        self.has_input, self.has_output = input == STDIN, output == STDOUT or (output is None and input == STDIN)
        if self.has_input and sys.stdin.isatty():
            raise UserError("input=-: expected an image on standard input (found a terminal); type input=FILE")
        if self.has_output and sys.stdout.isatty():
            raise UserError("output=-: expected a file or pipe as standard output (found a terminal); type output=FILE")
        self._folder: tempfile.TemporaryDirectory | None = None

    def __enter__(self) -> Self:
        self.paths = StreamFiles(None, None)
        if self.has_input or self.has_output:
            self._folder = tempfile.TemporaryDirectory(prefix="sr-")
            folder = Path(self._folder.name)
            self.paths = StreamFiles(
                folder / "stdin" if self.has_input else None, folder / "stdout" if self.has_output else None
            )
        if self.paths.input:
            with self.paths.input.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            if not self.paths.input.stat().st_size:
                self._folder.cleanup()
                raise UserError("input=-: expected an image on standard input (found no bytes)")
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None and self.paths.output:
                with self.paths.output.open("rb") as file:
                    shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.flush()
        finally:
            if self._folder:
                self._folder.cleanup()
        if self._folder and isinstance(error, UserError):
            raise UserError(self._name_streams(str(error))) from None

    def _name_streams(self, text: str) -> str:
        for path, name in ((self.paths.input, "input=-"), (self.paths.output, "output=-")):
            text = text.replace(str(path), name) if path else text
        return text
