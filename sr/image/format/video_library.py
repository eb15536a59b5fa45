"""PyAV, which is imported when it is needed: one error for a damaged video, nothing printed by its libraries."""

import contextlib
import os
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sr.image.damage import ADVICE, MAX_REASON, import_decoder, report_damage
from sr.runtime.error import UserError


def import_library(path: Path, found: str) -> Any:
    """Import PyAV. Raise `UserError`, which names the file and the extra, if it is not installed."""
    os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 prints fatal errors only, and no complaint that a video was stopped
    library = import_decoder("av", path, found, "video")
    library.logging.set_level(None)
    return library


_lock = threading.Lock()  # FFmpeg has one log


@contextlib.contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Yield a list, which at the end of the block gets the different warnings that FFmpeg logged in it, in this thread.

    What other threads log meanwhile is dropped. FFmpeg's own threads need Python's lock to log, so no thread may wait for
    them while it holds that lock: see `finish_decoding`.
    """
    import av

    messages: list[str] = []
    with _lock:
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.WARNING)
        try:
            with av.logging.Capture(local=False), av.logging.Capture() as logs:
                yield messages
        finally:
            av.logging.set_level(None)
    messages += dict.fromkeys(textwrap.shorten(text, MAX_REASON) for _, _, text in logs)


def finish_decoding(stream: Any) -> None:
    """Wait for the threads of a stream's decoder. PyAV would do so with Python's lock when it releases the decoder."""
    stream.codec_context.flush_buffers()


@contextlib.contextmanager
def report_video_damage(path: Path) -> Iterator[None]:
    """Raise a `UserError` that names the file for any error of FFmpeg."""
    import av  # `import_library` has reported if it is missing

    with report_damage(path):
        try:
            yield
        except av.error.FFmpegError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise UserError(f"{path}: this video is damaged ({reason}); {ADVICE}") from None
