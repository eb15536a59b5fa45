"""Errors of image files: each one is a `UserError` that names the file; a decoder's own exceptions never reach the caller."""

import contextlib
import importlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sr.runtime.error import OutOfMemoryError, UserError

ADVICE = "replace or remove it"
MAX_REASON = 200  # characters


class UnsupportedImageError(UserError):
    """The file is a sound image, but of a format or of a kind of pixels that is not read."""


@contextlib.contextmanager
def report_damage(name: Path | str) -> Iterator[None]:
    """Raise a `UserError` that names the image for any exception of a decoder: damaged bytes may lead to every kind of it."""
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise OutOfMemoryError(f"{name}: does not fit in memory") from None
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:  # from the operating system, not from Pillow
            raise UserError(f"{name}: cannot be read ({error.strerror})") from None
        reason = textwrap.shorten(str(error), MAX_REASON) or type(error).__name__  # one line
        raise UserError(f"{name}: this image is damaged ({reason}); {ADVICE}") from None


def import_decoder(module: str, path: Path | str, found: str, extra: str = "images") -> ModuleType:
    """Import an optional library, or raise an `UnsupportedImageError` that names the file, what it is, and the extra."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UnsupportedImageError(f"{path}: {found} needs {module}: pip install 'sr[{extra}]'") from None
