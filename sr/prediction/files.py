"""Upscale image files: files, folders and patterns in, PNG files out.

Alpha, gray and color profile are preserved, EXIF orientation is applied.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from sr.checkpoint.interpolate import format_label, interpolate_weights
from sr.checkpoint.load import LoadedNet
from sr.image.convert import Pixels
from sr.image.metadata import describe_lost_metadata
from sr.image.read import read_image
from sr.image.write import to_pil, write_png
from sr.inference.memory import report_out_of_memory
from sr.prediction.api import SPLIT, load, upscale_pixels
from sr.prediction.finished import KEY, digest_job, digest_net, has_digest
from sr.prediction.jobs import Job, create_folder, list_jobs, list_sources, require_new, resolve_output
from sr.runtime.error import UserError
from sr.runtime.signals import signals
from sr.runtime.terminal import create_progress_bar, format_bytes
from sr.track.run_address import parse_run_id

MAX_NAME_BYTES = 255  # of file systems
MAX_LOST = 8  # kinds of metadata in a message


def upscale_files(
    checkpoint: str,
    input: str | Sequence[str],
    output: str,
    overwrite: bool,
    device: str,
    trust: Sequence[str],
    scale: int | None = None,
    ensemble: bool = False,
    tile: int | None = None,
    interpolate: str | None = None,
    alpha: float | None = None,
) -> None:
    """Upscale the images that `input` names (`list_sources`) into the folder or file `output`.

    An image that cannot be upscaled is reported and skipped; a `UserError` at the end counts these. Results that the same
    net has written with the same options are not computed again. `interpolate` is another file of the same net: the net
    between the two is used, `alpha` 1 is the checkpoint, 0 the other file.
    """
    for option, file in (("checkpoint", checkpoint), ("interpolate", interpolate)):
        if parse_run_id(str(file)) is not None:
            raise UserError(f"{option}={file}: expected a file; the summary.json of that run names its checkpoints")
    sources = list_sources(input)
    path, is_file = resolve_output(output, len(sources))
    model = load(checkpoint, device, trust, scale)
    if interpolate is not None:
        model = interpolate_weights(model, Path(interpolate).expanduser(), alpha, device=model.device, trust=trust)
    label = f"×{model.scale}{format_label({'checkpoint': checkpoint, 'interpolate': interpolate, 'alpha': alpha})}"
    batch = Batch(model, ensemble, tile, list_jobs(sources, path, is_file, model.scale), overwrite)
    if batch.jobs:
        if not overwrite:
            require_new(batch.jobs, path)
        create_folder(path.parent if is_file else path)
    batch.execute(path, label)


class Batch:
    """The images of one command: `jobs` are those to be upscaled, without those whose result is there already.

    With `overwrite` all of them are upscaled.
    """

    def __init__(
        self, model: LoadedNet, ensemble: bool, tile: int | None, jobs: Sequence[Job], overwrite: bool
    ) -> None:
        self.model, self.ensemble, self.tile, self.overwrite = model, ensemble, tile, overwrite
        self._net_digest = digest_net(model, ensemble, tile)
        self.jobs = [job for job in jobs if overwrite or not self._is_finished(job)]
        self.finished = len(jobs) - len(self.jobs)  # images that an earlier command has upscaled
        self._done, self._bytes = 0, 0  # files that were written
        self._size = (0, 0)  # width and height of the last one
        self._lost: dict[str, list[str]] = {}  # what is in a file and not in its result -> names of the files

    def execute(self, output: Path, label: str) -> None:
        """Upscale all images into `output` and print a summary that names the scale by `label`.

        An image that fails is reported, and a `UserError` is raised at the end; Ctrl-C and SIGTERM leave what is done.
        """
        start, failed, is_single = time.monotonic(), 0, len(self.jobs) == 1 and not self.finished
        try:
            with signals.handle(), create_progress_bar(len(self.jobs), "upscale") as bar:
                for job in self.jobs:
                    try:
                        self._upscale(job)
                    except UserError as error:
                        if is_single:
                            raise
                        failed += 1
                        tqdm.write(f"skipped: {error}", file=sys.stderr)
                    bar.update()
        except KeyboardInterrupt:
            rest = "starts again" if self.overwrite else "does the others"
            done = f"{self._done} of {len(self.jobs)} images are in {output}"
            print(f"\nstopped: {done}; the same command {rest}", file=sys.stderr)
            raise
        self._report_lost_metadata()
        if self.finished:
            print(f"finished before, with the same net and options: {_count(self.finished)}")
        size = f"{self._size[0]}×{self._size[1]}, " if is_single else ""
        cost = f"({size}{format_bytes(self._bytes)}) in {time.monotonic() - start:.1f} s"
        if failed:
            rest = f"the others are in {output} {cost}" if self._done else "nothing was written"
            raise UserError(f"{failed} of {len(self.jobs)} images could not be upscaled, see above; {rest}")
        if self.jobs:
            place = self.jobs[0].target if is_single else output
            print(f"{_count(self._done)} upscaled {label} into {place} {cost}")

    def _report_lost_metadata(self) -> None:
        """Print what the files hold and their results do not, in one line."""
        lost = [
            f"{what} of {names[0] if len(names) == 1 else _count(len(names))}" for what, names in self._lost.items()
        ]
        if lost:
            more = f" and {len(lost) - MAX_LOST} more" if len(lost) > MAX_LOST else ""
            print(f"note: not in the results: {', '.join(lost[:MAX_LOST])}{more}", file=sys.stderr)

    def _is_finished(self, job: Job) -> bool:
        exists = os.path.exists(job.target)  # noqa: PTH110  Path.exists raises if a name is too long
        return exists and has_digest(job.target, digest_job(self._net_digest, job.source))

    def _upscale(self, job: Job) -> None:
        """Upscale one image file; raise a `UserError` whatever is wrong with it."""
        source, target = job
        if len(os.fsencode(target.name)) > MAX_NAME_BYTES:
            raise UserError(
                f"{source}: the name of its result would be {len(os.fsencode(target.name))} bytes long, and "
                f"{MAX_NAME_BYTES} is the limit; rename it, or name the result: output=FILE.png"
            )
        try:
            with report_out_of_memory(f"{source}: this image", SPLIT):
                self._write(source, target)
        except UserError:
            raise
        except Exception as error:  # one odd image must not end the batch
            reason = str(error).partition("\n")[0] or "no message"
            raise UserError(f"{source}: cannot be upscaled ({type(error).__name__}: {reason}); remove it") from error
        self._done += 1
        self._bytes += target.stat().st_size

    def _write(self, source: Path, target: Path) -> None:
        digest = digest_job(self._net_digest, source)  # before it is read: it may change afterwards
        image = read_image(source)
        result = upscale_pixels(
            self.model, Pixels(image.pixels[None], image.alpha), self.ensemble, self.tile, str(source)
        )
        pixels = result.color[0]
        has_same_channels = pixels.shape[0] == image.pixels.shape[0]  # a profile of RGB does not fit gray
        sr = to_pil(pixels, result.alpha)
        write_png(target, sr, image.icc if has_same_channels else None, {KEY: digest})
        self._size = sr.size
        for lost in describe_lost_metadata(source):
            self._lost.setdefault(lost, []).append(source.name)


def _count(number: int) -> str:
    return f"{number} image{'s' * (number != 1)}"
