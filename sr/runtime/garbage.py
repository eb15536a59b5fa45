"""Let Python's garbage collector skip the modules of the large libraries, which are never garbage.

It examines all objects again and again while they are imported, and once more when the process ends: a third of the
processor time of `import torch`.
"""

import atexit
import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def skip_imported() -> Iterator[None]:
    """Exclude the objects that are created in the block, and before it, from garbage collection."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def skip_at_exit() -> None:
    """Exclude what still exists when the process ends from its last collections; the system frees all memory anyway."""
    atexit.unregister(gc.freeze)  # once is enough
    atexit.register(gc.freeze)
