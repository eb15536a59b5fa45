"""The progress bar of a batch of images."""

from collections.abc import Sequence
from typing import Self

from sr.prediction.jobs import Job
from sr.prediction.opened_job import is_small
from sr.runtime.terminal import ProgressBar, create_progress_bar


class BatchProgress:
    """Counts images, or pixels of results if some images are large or their sizes differ; of videos frames.

    Within a large image the bar moves by strips, as such an image may take hours.
    """

    def __init__(self, jobs: Sequence[Job], scale: int) -> None:
        pixels = [job.count_pixels(scale) for job in jobs]
        counts_pixels = len(set(pixels)) > 1 or not all(is_small(job.header) for job in jobs)
        self._weights = pixels if counts_pixels else [1] * len(pixels)
        self._done = [0] * len(pixels)  # what the bar shows of each weight
        if jobs and all(job.format.family for job in jobs):
            self._weights = [job.header.frames for job in jobs]
            self._bar = create_progress_bar(sum(self._weights), "upscale", "frame")
        elif counts_pixels:
            self._bar = ProgressBar(total=sum(pixels), desc="upscale", unit="pixel", unit_scale=True, delay=1)
        else:
            self._bar = create_progress_bar(len(pixels), "upscale")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def report(self, number: int, share: float) -> None:
        """Show that this share, in 0…1, of the image of this number is done."""
        done = int(share * self._weights[number])
        self._bar.update(done - self._done[number])
        self._done[number] = done
