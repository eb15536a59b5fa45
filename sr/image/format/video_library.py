"""PyAV, which is imported when it is needed: one error for a damaged video, nothing printed by its libraries."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sr.image.damage import ADVICE, import_decoder, report_damage
from sr.runtime.error import UserError


def import_library(path: Path, found: str) -> Any:
    """Import PyAV. Raise `UserError`, which names the file and the extra, if it is not installed."""
    os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 prints fatal errors only, and no complaint that a video was stopped
    library = import_decoder("av", path, found, "video")
    library.logging.set_level(None)
    return library


@contextlib.contextmanager
def report_video_damage(path: Path) -> Iterator[None]:
    """Raise a `UserError` that names the file for any error of FFmpeg."""
    import av  # `import_library` has reported if it is missing

    try:
        with report_damage(path):
            try:
                yield
            except av.error.FFmpegError as error:
                reason = (error.strerror or type(error).__name__).lower()
                raise UserError(f"{path}: this video is damaged ({reason}); {ADVICE}") from None
    except UserError:
        raise
