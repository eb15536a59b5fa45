"""Upscale the images of one command one after another, with progress, a manifest and a summary."""

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import WriteOptions
from sr.image.formats import read_suffix
from sr.image.write import write_png
from sr.prediction.engine.chunk import ChunkQueue, plan_chunks
from sr.prediction.engine.engine import iterate_outcomes
from sr.prediction.engine.upscaler import JobOutcome, NumberedJob
from sr.prediction.jobs import Failure, Job, Output
from sr.prediction.manifest import RESULT_OPTIONS, Manifest, digest_job, digest_net, hash_file, name_unfinished
from sr.prediction.maps import LEGEND, MapWriter, name_maps
from sr.prediction.naturalness import Naturalness, describe_mean
from sr.prediction.opened_job import UpscaleJob
from sr.prediction.preview import draw_preview, open_result
from sr.prediction.progress import BatchProgress
from sr.prediction.read_options import get_read_options
from sr.prediction.sources import LeftOut, format_name, format_names
from sr.runtime.error import DiskError, UserError, is_disk_full
from sr.runtime.signals import signals
from sr.runtime.terminal import format_bytes, format_count, print_note

MAX_LOST = 8  # kinds of metadata in a message
MAX_FAILURES = 20  # lines about images that cannot be upscaled; all of them are in the manifest


class Batch:
    """The images of one command: `jobs` are those to be upscaled, without those whose result is there already.

    With `overwrite` all of them are upscaled. `preview` is the file of the sheet, if there is to be one.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        model: LoadedNet,
        jobs: Sequence[Job],
        output: Output,
        manifest: Manifest | None,
        preview: Path | None = None,
        members: Sequence[nn.Module] = (),
    ) -> None:
        self.config, self.model, self.output, self.manifest, self.preview = config, model, output, manifest, preview
        self._maps, self._map_writer = {}, None
        if config["uncertainty"] is not False:
            self._maps = name_maps(jobs)
            self._map_writer = MapWriter(model, members, config, get_read_options(config))
        maps = [config["uncertainty"]] if self._maps else []  # those who want none need not upscale again
        digest = digest_net(model, [*(config[option] for option in RESULT_OPTIONS), *maps])
        self._identity = f"{digest} {config['outscale']} {config['size']}"
        # Before a file is read: it may change afterwards.
        self._digests = {job.target: self._digest(job) for job in jobs}
        is_finished = [not config["overwrite"] and self._is_finished(job) for job in jobs]
        self.jobs = [job for job, is_done in zip(jobs, is_finished, strict=True) if not is_done]
        self.finished = [job for job, is_done in zip(jobs, is_finished, strict=True) if is_done]
        self._bytes, self._pixels = 0, 0  # of the results
        self._size = (0, 0)  # height and width of the last result
        self._label = ""  # what results are upscaled to, and by which network
        self._failures: list[Failure] = []
        self._failed_before = 0
        self._results: list[Job] = []  # that were upscaled
        self._niqe: list[Naturalness] = []
        self._lost: dict[str, list[str]] = {}  # what is in a file and not in its result -> names of the files
        self._notes: dict[str, list[str]] = {}  # what else there is to say -> names of the files

    def _digest(self, job: Job) -> str:
        is_own = self.config["format"] is None or job.format.name == job.header.format  # else typed
        folder = self.manifest.name_folder(job.target) if self.manifest else ""
        return digest_job(f"{self._identity} {'' if is_own else job.format.name}", folder, job.source, job.header)

    def list_new(self) -> list[Job]:
        """Return the jobs whose target must not exist: all but those that a killed process was working on."""
        manifest = self.manifest
        return [
            job for job in self.jobs if manifest is None or not manifest.is_begun(job.target, self._digests[job.target])
        ]

    def list_maps(self) -> list[Path]:
        """Return the maps that must not exist, of the jobs of `list_new`."""
        return [path for job in self.list_new() for path in self._maps.get(job.target, [])]

    def execute(self, label: str, left_out: Sequence[LeftOut], failures: Sequence[Failure]) -> None:
        """Upscale all images and print a summary, which names the scale by `label`.

        `failures` are those known before. An image that fails is reported, and a `UserError` is raised at the end; Ctrl-C and
        SIGTERM leave what is done.
        """
        start, self._label = time.monotonic(), label
        self._failed_before = len(failures)
        for failure in failures:
            self._fail(failure)
        try:
            self._upscale_all()
            self._write_preview()
        except KeyboardInterrupt:
            rest = "starts again" if self.config["overwrite"] else "does the others"
            print(f"\nstopped: {self._describe_state()}; the same command {rest}", file=sys.stderr)
            raise
        finally:
            self._close_manifest(left_out)
        self._report_notes()
        if self._map_writer and self._results:
            print_note(LEGEND)
        if self._niqe and (mean := describe_mean(self._niqe)):
            self._print(mean)
        self._report_end(label, time.monotonic() - start)

    def _upscale_all(self) -> None:
        queue = ChunkQueue(plan_chunks(self.jobs), self._begin)
        pixels = [job.count_pixels(self.model.scale) for job in self.jobs]
        try:
            with signals.handle(), BatchProgress(self.jobs, self.model.scale) as progress:
                outcomes = iterate_outcomes(self.config, self.model, queue, pixels, progress.report)
                with contextlib.closing(outcomes):
                    for outcome in outcomes:
                        self._count_outcome(self.jobs[outcome.number], outcome)
                        progress.report(outcome.number, 1)
        finally:
            if queue.has_lost and self.manifest:
                self.manifest.remove_temporary_files(job.target for job in self.jobs)

    def _count_outcome(self, job: Job, outcome: JobOutcome) -> None:
        error = outcome.result.error
        if error is None:
            self._finish(job, outcome)
        elif len(self.jobs) == 1 and not self.finished and not self._failures:
            raise error
        elif isinstance(error, DiskError) or is_disk_full(error):  # all others would fail as well
            rest = "the same command does the others when there is room"
            raise DiskError(f"{error}; {self._describe_state()}; {rest}")
        else:
            self._fail(Failure(job.source, error))

    def _begin(self, numbers: range) -> list[NumberedJob]:
        """Note in the manifest that the work on the jobs of a chunk begins."""
        options = {option: self.config[option] for option in ("quality", "codec", "crf")}
        write = WriteOptions(**options, process=f"upscaled {self._label.replace('×', 'x')}", identity=self._identity)
        read, begun = get_read_options(self.config), []
        for number in numbers:
            job, unfinished = self.jobs[number], None
            if self.manifest:
                self.manifest.begin(job.target, self._digests[job.target])
                unfinished = name_unfinished(job.target, self._digests[job.target])
            own = write._replace(suffix=read_suffix(job.target), unfinished=unfinished)
            size, depth = job.size, self.config["depth"]
            upscaled = UpscaleJob(job.source, job.target, job.format, own, depth, size, read, numbers.start)
            begun.append(NumberedJob(number, upscaled))
        return begun

    def _finish(self, job: Job, outcome: JobOutcome) -> None:
        """Count a result and enter it in the manifest."""
        result, (height, width) = outcome.result, outcome.result.size
        self._bytes += outcome.bytes
        self._pixels += height * width * result.frames
        self._size = result.size
        for what in result.lost:
            self._lost.setdefault(what, []).append(job.source.name)
        for note in result.notes:
            self._notes.setdefault(note, []).append(job.source.name)
        self._results.append(job)
        maps = self._write_maps(job)
        entry = {
            "source": str(job.source.absolute()), "width": width, "height": height, "frames": result.frames,
            "bytes": outcome.bytes, "seconds": round(result.seconds, 3), "sha256": outcome.sha256,
            "digest": self._digests[job.target], "lost": result.lost, "notes": result.notes,
            **maps,
        }  # fmt: skip
        if outcome.niqe:
            entry["niqe"] = outcome.niqe._asdict()
            self._niqe.append(outcome.niqe)
            self._print(f"{format_name(job.source.name)}: {outcome.niqe.describe()}")
        if self.manifest:
            self.manifest.record(job.target, entry)

    def _write_maps(self, job: Job) -> dict[str, Any]:
        """Write the maps of a result, and return what the manifest says about them; nothing without maps."""
        if self._map_writer is None:
            return {}
        paths = self._maps[job.target]
        try:
            summary = self._map_writer.write(job.source, paths)
        except UserError as error:
            print_note(str(error))
            return {}
        self._print(f"{format_name(job.source.name)}: {summary.describe()} ({', '.join(path.name for path in paths)})")
        for path in paths if self.manifest else []:
            self.manifest.record(path, {"kind": "map", "bytes": path.stat().st_size})
        return {"uncertainty": summary._asdict(), "maps": [path.name for path in paths]}

    def _write_preview(self) -> None:
        """Write the sheet of `preview=true`, also of images that were finished before."""
        done = {job.target for job in self._results}
        shown = [*self.finished, *(job for job in self.jobs if job.target in done)]
        if self.preview is None or not shown:
            return
        write_png(
            self.preview, draw_preview([(job.source, job.target) for job in shown], get_read_options(self.config))
        )
        if self.manifest:
            self.manifest.record(self.preview, {"kind": "preview", "bytes": self.preview.stat().st_size})

    def _print(self, line: str) -> None:
        """Print a line above the progress bar: on stderr if the result goes to standard output."""
        tqdm.write(line, file=sys.stderr if self.output.is_stdout else sys.stdout)

    def _fail(self, failure: Failure) -> None:
        self._failures.append(failure)
        if len(self._failures) <= MAX_FAILURES:
            tqdm.write(f"skipped: {failure.error}", file=sys.stderr)

    def _is_finished(self, job: Job) -> bool:
        manifest, digest = self.manifest, self._digests[job.target]
        if manifest is None or manifest.is_finished(job.target, digest):
            return manifest is not None
        if self._maps or not manifest.is_written(job.target, digest) or not self._is_complete(job):
            return False
        height, width = job.compute_size(self.model.scale)
        manifest.record(job.target, {
            "source": str(job.source.absolute()), "width": width, "height": height, "bytes": job.target.stat().st_size,
            "sha256": hash_file(job.target), "digest": digest,
        })  # fmt: skip
        return True

    def _is_complete(self, job: Job) -> bool:
        """Return True if a result can be decoded: after a power failure a file may be empty that was written."""
        try:
            with open_result(job.target, get_read_options(self.config)) as file:
                pixels = file.read(file.header.frames - 1).pixels
        except UserError:
            return False
        return tuple(pixels.shape[-2:]) == job.compute_size(self.model.scale)

    def _close_manifest(self, left_out: Sequence[LeftOut]) -> None:
        if self.manifest is None:
            return
        reasons = [(entry.path, entry.reason) for entry in left_out]
        reasons += [(failure.source, str(failure.error)) for failure in self._failures]
        entries = [{"source": str(path.absolute()), "reason": reason} for path, reason in reasons]
        is_failing = sys.exc_info()[0] is not None
        with contextlib.suppress(DiskError) if is_failing else contextlib.nullcontext():
            self.manifest.close(entries)

    def _describe_place(self) -> str:
        if self.output.is_stdout:
            return "to standard output"
        return f"into {format_name(self.output.path)}" if self.output.path else "next to their originals"

    def _describe_state(self) -> str:
        return f"{len(self._results)} of {format_count(len(self.jobs), 'image')} upscaled {self._describe_place()}"

    def _report_notes(self) -> None:
        """Print what the files hold and their results do not, in one line, and other notes in a line each."""
        lost = [f"{what} of {_describe_images(names)}" for what, names in self._lost.items()]
        if lost:
            print_note(f"not in the results: {format_names(lost, MAX_LOST)}")
        for note, names in self._notes.items():
            print_note(f"{note} ({_describe_images(names)})")

    def _report_end(self, label: str, seconds: float) -> None:
        """Print what was done in one line, or raise it as a `UserError` if an image has failed."""
        is_single = len(self.jobs) == 1 and not self.finished
        size = f"{self._size[1]}×{self._size[0]}, " if is_single else ""
        rate = self._pixels / 1e6 / max(seconds, 1e-3)
        speed = f"{rate:.{1 if rate >= 1 else 3}f} megapixels/s"
        cost = f"({size}{format_bytes(self._bytes)}) in {seconds:.1f} s, {speed}"
        finished = [f"{format_count(len(self.finished), 'image')} finished before"] if self.finished else []
        if self._failures:
            count, hidden = len(self._failures), len(self._failures) - MAX_FAILURES
            has_list = hidden > 0 and self.manifest is not None and self.manifest.path.exists()
            more = f" ({hidden} more in {self.manifest.path})" if has_list else ""
            done = f"{format_count(len(self._results), 'image')} upscaled {self._describe_place()} {cost}"
            rest = done if len(self._results) else "nothing was written"
            failed = f"{count} of {len(self.jobs) + self._failed_before} images could not be upscaled, see above{more}"
            raise UserError("; ".join([failed, rest, *finished]))
        place = self._describe_place()
        if is_single and not self.output.is_stdout:
            place = f"into {format_name(self.jobs[0].target)}"
        done = [f"{format_count(len(self._results), 'image')} upscaled {label} {place} {cost}"] if self.jobs else []
        self._print("; ".join([*done, *finished]))


def _describe_images(names: Sequence[str]) -> str:
    return format_name(names[0]) if len(names) == 1 else format_count(len(names), "image")
