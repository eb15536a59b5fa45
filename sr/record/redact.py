"""Mask passwords in addresses, so that the files of a run hold none."""

import re

MASK = "…@"
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")  # `://user:password@`


def mask_passwords(text: str) -> str:
    """Return the text with a mask in place of each password."""
    return _PASSWORD.sub(rf"\1{MASK}", text)
