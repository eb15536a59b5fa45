"""Read the option `memory`: `2GB`, `500MB`, or bytes."""

import re

from sr.runtime.error import UserError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def read_memory_size(memory: int | str | None, option: str = "memory") -> int | None:
    """Return the bytes that the option states; None stays None. Raise `UserError` if it is no size."""
    if memory is None or isinstance(memory, int):
        return memory
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]I?)?B?", memory.strip().upper())
    size = int(float(match[1]) * UNITS[match[2] or ""]) if match else 0
    if not size:
        or_null = ", or null for half of what is free" if option == "memory" else ""
        raise UserError(f"{option}={memory}: expected a size such as 2GB or 500MB{or_null}")
    return size
