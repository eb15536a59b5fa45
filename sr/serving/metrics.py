"""Count requests, and write the counts in the text format of Prometheus (exposition format 0.0.4)."""

from bisect import bisect_left
from collections import Counter
from itertools import accumulate

import psutil

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # upper limits, seconds


class Metrics:
    """The counts since the start of the service."""

    def __init__(self) -> None:
        self._statuses: Counter[int] = Counter()  # of answers to POST /upscale
        self._pixels = 0  # of results
        self._counts = [0] * (len(BUCKETS) + 1)  # of images, by their seconds
        self._seconds = 0.0

    def count_answer(self, status: int) -> None:
        """Count an answer to POST /upscale."""
        self._statuses[status] += 1

    def count_image(self, pixels: int, seconds: float) -> None:
        """Count an upscaled image, with the pixels of its result and the time that it took, its upload not included."""
        self._pixels += pixels
        self._seconds += seconds
        self._counts[bisect_left(BUCKETS, seconds)] += 1

    def estimate_wait(self) -> int:
        """Return the seconds that an image takes on average, 1…60, for Retry-After."""
        return min(max(1, round(self._seconds / max(1, sum(self._counts)))), 60)

    def format_text(self, waiting: int, is_ready: bool) -> str:
        """Return all metrics as text; `waiting` are the requests that are accepted and not answered yet."""
        statuses = [f'sr_requests_total{{status="{s}"}} {n}' for s, n in sorted(self._statuses.items())]
        limits = [*(f"{limit:g}" for limit in BUCKETS), "+Inf"]
        totals = list(accumulate(self._counts))
        buckets = [f'sr_upscale_seconds_bucket{{le="{a}"}} {n}' for a, n in zip(limits, totals, strict=True)]
        sums = [f"sr_upscale_seconds_sum {self._seconds:.6f}", f"sr_upscale_seconds_count {totals[-1]}"]
        memory = psutil.Process().memory_info().rss
        return "".join([
            _format("sr_requests_total", "counter", "Answers to POST /upscale.", statuses),
            _format("sr_pixels_total", "counter", "Pixels of results.", [f"sr_pixels_total {self._pixels}"]),
            _format("sr_upscale_seconds", "histogram", "Seconds from the upload to the result.", [*buckets, *sums]),
            _format("sr_queue", "gauge", "Requests that are accepted and not answered yet.", [f"sr_queue {waiting}"]),
            _format("sr_ready", "gauge", "1 if images are accepted.", [f"sr_ready {int(is_ready)}"]),
            _format("process_resident_memory_bytes", "gauge", "Resident memory.",
                    [f"process_resident_memory_bytes {memory}"]),
        ])  # fmt: skip


def _format(name: str, kind: str, purpose: str, lines: list[str]) -> str:
    return "\n".join([f"# HELP {name} {purpose}", f"# TYPE {name} {kind}", *lines, ""])
