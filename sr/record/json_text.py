"""Write JSON that every reader accepts: without Infinity and NaN, which the standard (RFC 8259) does not know."""

import json
import math
from typing import Any


def to_json(node: Any, indent: int | None = 2) -> str:
    """Return a tree of dicts, lists and tuples as JSON; an infinite or NaN number becomes the word inf, -inf or nan."""
    text = json.dumps(_replace_infinity(node), indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode()  # a file name of bytes that are no UTF-8: "caf\\udce9.png"


def _replace_infinity(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _replace_infinity(part) for key, part in node.items()}
    if isinstance(node, list | tuple):
        return [_replace_infinity(part) for part in node]
    return str(node) if isinstance(node, float) and not math.isfinite(node) else node
