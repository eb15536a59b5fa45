"""Use pydicom so that nothing of a patient reaches a log: no warning, and no error message of the library itself."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sr.image.damage import ADVICE, import_decoder
from sr.runtime.error import UserError


class DicomDamageError(ValueError):
    """A reason in words of our own, in which no value of the file occurs but numbers of pixels."""


def import_pydicom(path: Path | str) -> ModuleType:
    """Import pydicom and silence it: its warnings quote values such as names. Raise `UserError` if it is not installed."""
    pydicom = import_decoder("pydicom", path, "a DICOM file", "medical")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    # Attributed to the caller, which is pydicom or a module of this format.
    warnings.filterwarnings("ignore", module=r"pydicom|sr\.image\.format\.dicom")
    settings = pydicom.config.settings
    settings.reading_validation_mode = settings.writing_validation_mode = pydicom.config.IGNORE
    return pydicom


@contextlib.contextmanager
def report_dicom_damage(path: Path | str, doing: str = "be read") -> Iterator[None]:
    """Raise a `UserError` that names the file, but no value in it, for any exception: a library's message may quote a name."""
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{path}: does not fit in memory") from None
    except DicomDamageError as error:
        raise UserError(f"{path}: this image is damaged ({error}); {ADVICE}") from None
    except OSError as error:
        if not error.strerror:
            raise UserError(f"{path}: this image is damaged (it cannot {doing}); {ADVICE}") from None
        raise  # from the operating system: a disk that is full is reported elsewhere
    except Exception as error:
        reason = f"it cannot {doing}: {type(error).__name__}"
        raise UserError(f"{path}: this image is damaged ({reason}); {ADVICE}") from None
