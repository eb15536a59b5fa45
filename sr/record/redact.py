"""Passwords in addresses: what is kept of a run has none."""

import re

MASK = "…@"  # what stands for one
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")  # `://user:password@`


def mask_passwords(text: str) -> str:
    """The text with a mask for each password."""
    return _PASSWORD.sub(rf"\1{MASK}", text)
