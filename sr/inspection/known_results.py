"""Results of earlier inspections, by the content of the files: what did not change is not computed again."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sr.data.file_digest import DigestCache
from sr.runtime.cores import create_thread_pool
from sr.runtime.terminal import ProgressBar

MAX_PENDING = 200  # results that an interruption may lose
T = TypeVar("T")


class KnownResults:
    """Results as JSON, in the database of the folder `cache`. Without a folder that can be written, all are computed."""

    def __init__(self, cache: Path | None) -> None:
        self.digests = DigestCache(cache)
        self.remembered = self.digests.remembered

    def digest(self, files: Sequence[Path]) -> list[str]:
        """Return the digest of the content of each file; empty ones if a file cannot be read."""
        try:
            return self.digests.digest_all(files)
        except OSError:  # the inspection says which
            return [""] * len(files)

    def complete(
        self,
        kind: str,
        keys: Sequence[str],
        compute: Callable[[int], T],
        encode: Callable[[T], Any],
        decode: Callable[[int, Any], T],
        title: str,
        unit: str = "image",
    ) -> list[T]:
        """Return the result of each key, in their order; those that are not known are computed, in parallel.

        `compute` gets the position of the key, `decode` also what `encode` returned. A result is not remembered if its key is
        empty, or `encode` returns None.
        """
        found = {key: value for key, text in self.remembered.find(kind, filter(None, keys)).items()
                 if (value := _parse_json(text)) is not None}  # fmt: skip
        missing = [k for k, key in enumerate(keys) if key not in found]
        new: dict[int, T] = {}
        pending: dict[str, str] = {}
        with create_thread_pool() as pool:
            results = ProgressBar(pool.map(compute, missing), title, len(missing), unit=unit, delay=1)
            try:
                for k, result in zip(missing, results, strict=True):
                    new[k], code = result, encode(result)
                    if keys[k] and code is not None:
                        pending[keys[k]] = json.dumps(code)
                    if len(pending) >= MAX_PENDING:
                        self.remembered.store(kind, pending)
                        pending = {}
            finally:
                self.remembered.store(kind, pending)
        return [new[k] if k in new else decode(k, found[key]) for k, key in enumerate(keys)]


def _parse_json(text: str | bytes) -> Any:
    """Return a remembered value; None if it is damaged."""
    try:
        return json.loads(text)
    except ValueError:
        return None
