"""`ServiceError`: an answer that is no image, as a status and one sentence; what the service says of each `UserError`."""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from starlette.responses import JSONResponse

from sr.image.damage import UnsupportedImageError
from sr.runtime.error import DiskError, MemoryLimitError, OutOfMemoryError, UserError

INTERNAL = "an error inside the service; its log says where"
RETRY_SECONDS = 1  # of Retry-After, where nothing better is known


class ServiceError(Exception):
    """An error that ends a request: an HTTP status, and a sentence for the client."""

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after

    def build_response(self) -> JSONResponse:
        """Return the answer, `{"error": "…"}`."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return JSONResponse({"error": self.sentence}, self.status, headers)


def translate_error(error: BaseException, hidden: Sequence[Path]) -> ServiceError:
    """Return what a client may know of an error: nothing of the paths `hidden`, nor of an error that is sr's own.

    That is logged by its place in the code, without its message, which may hold anything.
    """
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, DiskError | OutOfMemoryError):
        return ServiceError(503, "there is no room for this image now; try again later", RETRY_SECONDS)
    is_unexpected = not isinstance(error, UserError) or error.__cause__ is not None
    sentence = str(error)
    for path in hidden:
        sentence = sentence.replace(f"{path}: ", "").replace(str(path), "this image")
    if is_unexpected or any(str(path.parent) in sentence for path in hidden):
        log_unexpected(error)
        return ServiceError(500, INTERNAL)
    if isinstance(error, MemoryLimitError):
        return ServiceError(413, sentence.partition(";")[0])  # without the advice, which is for the command line
    status = 415 if isinstance(error, UnsupportedImageError) else 422
    return ServiceError(status, sentence.partition("\n")[0])


def log_unexpected(error: BaseException) -> None:
    """Print the kind of an error, and where it was raised."""
    cause = error.__cause__ or error
    frames = traceback.extract_tb(cause.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""
    print(f"unexpected error, possibly a bug in sr: {type(cause).__name__}{place}", file=sys.stderr, flush=True)
