"""`engine=ray`: workers on the machines of a cluster of Ray (https://docs.ray.io), for millions of files.

Actors in place of Ray Data: a lost process concerns the files that it had, each of which is done once more and then recorded
as failed, whereas Ray Data repeats or drops whole blocks. A free worker gets the next files, and no more are begun.
"""

import math
import posixpath
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from tqdm import tqdm

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import WriteOptions
from sr.image.formats import KINDS_BY_SUFFIX, SUFFIXES, find_format, read_suffix
from sr.prediction.engine.address import open_store
from sr.prediction.engine.chunk import ChunkQueue
from sr.prediction.engine.cluster_worker import ClusterWorker, Workers
from sr.prediction.engine.listing import ListedFile, list_files
from sr.prediction.engine.parquet import (
    DONE,
    FAILED,
    FULL,
    MAX_ROWS,
    REFUSED,
    Known,
    ManifestRow,
    ParquetManifest,
)
from sr.prediction.engine.remote import RemoteFile, Setup
from sr.prediction.engine.staging import name_staging, remove_old_staging
from sr.prediction.engine.upscaler import UpscaleOptions
from sr.prediction.jobs import require_writable
from sr.prediction.manifest import CLUSTER_RESULTS, RESULT_OPTIONS, digest_net, digest_source
from sr.prediction.memory_size import read_memory_size
from sr.prediction.network import find_trained_options, load_network
from sr.prediction.read_options import get_read_options
from sr.prediction.result_size import ResultSize, parse_size
from sr.prediction.sources import format_names, is_address
from sr.runtime.cores import count_cores
from sr.runtime.error import DiskError, UserError
from sr.runtime.ray_cluster import connect_ray
from sr.runtime.signals import signals
from sr.runtime.terminal import create_progress_bar, format_bytes, format_count

CHUNK = 8  # files that a worker is given at once: the next are copied while one is upscaled
MAX_FAILURES = 20  # lines about files that cannot be upscaled
MAX_NAMES = 5  # of files in a message


def upscale_by_ray(config: Mapping[str, Any]) -> None:
    """Upscale the files at paths or addresses into the folder `output`. Raise `UserError` at the end if one has failed."""
    _check_options(config)
    size = parse_size(config["outscale"], config["size"])
    output = open_store(config["output"], "output")
    files = list_files(config["input"], config["recursive"], output)
    config = {**config, "memory": read_memory_size(config["memory"])}
    model, name = load_network({**config, "device": "cpu"}, size, [])  # a worker moves it to its GPU
    config = {**config, **find_trained_options(config, model)}
    manifest = ParquetManifest(output)
    label = f"{size.describe(model.scale)}{name}"
    setup = _create_setup(config, model, size, manifest, label)
    run = ClusterRun(config, model, setup, manifest, label)
    run.execute(run.select(files))


def _check_options(config: Mapping[str, Any]) -> None:
    for key in ("preview", "niqe", "uncertainty"):
        if config[key] is not False:
            raise UserError(f"{key}: expected false with engine=ray, which gives the results alone; leave it out")
    if config["output"] in (None, "-"):
        raise UserError("engine=ray: expected output=FOLDER, a path or an address such as s3://bucket/folder")
    if read_suffix(PurePath(config["output"])) in SUFFIXES:
        raise UserError(f"output={config['output']}: expected a folder with engine=ray (found the name of a file)")
    if config["input"] == "-":
        raise UserError("input=-: expected paths or addresses with engine=ray")


def _create_setup(
    config: Mapping[str, Any], model: LoadedNet, size: ResultSize, manifest: ParquetManifest, label: str
) -> Setup:
    chosen = config["format"] and require_writable(find_format(config["format"]), f"format={config['format']}")
    options = UpscaleOptions(**{key: config[key] for key in UpscaleOptions._fields})
    write = WriteOptions(
        **{key: config[key] for key in ("quality", "codec", "crf")}, process=f"upscaled {label.replace('×', 'x')}",
        identity=digest_net(model, [config[key] for key in RESULT_OPTIONS]),
    )  # fmt: skip
    folder = manifest.folder
    staging = folder.join(name_staging(manifest.run)) if folder.is_local else ""
    address = config["output"] if is_address(config["output"]) else folder.path
    return Setup(options, address, staging, chosen or None, size, get_read_options(config), write, config["depth"], 1)


class ClusterRun:
    """One command: the files, the cluster and the manifest."""

    def __init__(
        self, config: Mapping[str, Any], model: LoadedNet, setup: Setup, manifest: ParquetManifest, label: str
    ) -> None:
        self.config, self.model, self.setup, self.manifest, self.label = config, model, setup, manifest, label
        self.counts: Counter[str] = Counter()  # done, refused, failed by this command; `before`, `refused before`
        self._bytes, self._pixels = 0, 0
        self._sources: Sequence[RemoteFile] = []

    def select(self, files: Sequence[ListedFile]) -> list[RemoteFile]:
        """Return the files whose result is not there yet. Raise `UserError` if files exist in place of their results."""
        sizes: dict[str, dict[str, int]] = {}  # of what is in each folder of results
        selected, existing = [], []
        for file in files:
            digest = self._digest(file)
            if file.folder not in sizes:
                sizes[file.folder] = self.manifest.folder.list_sizes(file.folder)
            known = None if self.config["overwrite"] else self.manifest.find(digest)
            if known and known.status == DONE and self._is_there(known, sizes[file.folder]):
                self.counts["before"] += 1
            elif known and known.status == REFUSED:
                self.counts["refused before"] += 1
            else:
                selected.append(RemoteFile(len(selected), file.address, file.folder, digest))
                is_ours = self.config["overwrite"] or self.manifest.is_begun(digest)
                existing += [] if is_ours else [(file.folder, file.stem)]
        self._require_new(set(existing), sizes)
        return selected

    def _digest(self, file: ListedFile) -> str:
        """Return the digest of a file's result, which is that of the other engines (`Batch._digest`), without its header."""
        chosen = self.setup.format
        is_own = chosen is None or chosen.name == KINDS_BY_SUFFIX.get(read_suffix(PurePath(file.address)))
        options = f"{self.setup.write.identity} {self.config['outscale']} {self.config['size']}"
        name = posixpath.basename(file.address)
        return digest_source(f"{options} {'' if is_own else chosen.name}", file.folder, name, file.version)

    def _is_there(self, known: Known, sizes: Mapping[str, int]) -> bool:
        """Return True if a result that is done is among the files of its folder, in the format that was typed."""
        target, chosen = PurePath(known.target), self.setup.format
        is_right = chosen is None or KINDS_BY_SUFFIX.get(read_suffix(target)) == chosen.name
        return is_right and sizes.get(target.name) == known.bytes

    def _require_new(self, stems: set[tuple[str, str]], sizes: Mapping[str, Mapping[str, int]]) -> None:
        suffix, names = self.setup.size.format_suffix(self.model.scale), []
        for folder, files in sizes.items():
            for name in files:
                stem = name.removesuffix(PurePath(name).suffix).removesuffix(".nii")
                if stem.endswith(suffix) and (folder, stem.removesuffix(suffix)) in stems:
                    names.append(name)
        if names:
            listed = format_names(sorted(names), MAX_NAMES)
            raise UserError(f"output={self.setup.output}: {listed} exist already; overwrite=true replaces them")

    def execute(self, sources: Sequence[RemoteFile]) -> None:
        """Upscale the files and print a summary; raise `UserError` if a file has failed."""
        start, self._sources = time.monotonic(), sources
        if self.setup.staging:
            remove_old_staging(Path(self.setup.staging).parent)
        try:
            if sources:
                self._upscale_all(sources)
            self.manifest.close()
        except KeyboardInterrupt:
            done = f"{self.counts[DONE]} of {format_count(len(sources), 'image')}"
            print(
                f"\nstopped: {done} upscaled into {self.setup.output}; the same command does the others",
                file=sys.stderr,
            )
            raise
        finally:
            self.manifest.flush()
            if self.setup.staging:
                shutil.rmtree(self.setup.staging, ignore_errors=True)
        self._report_end(time.monotonic() - start)

    def _upscale_all(self, sources: Sequence[RemoteFile]) -> None:
        ray = connect_ray(self.config["address"], self.config["workers"] or count_cores(), "engine=ray", "address")
        try:
            with signals.handle(), create_progress_bar(len(sources), "upscale") as bar:
                count, setup = self._plan_workers(ray, len(sources))
                size = max(1, min(CHUNK, len(sources) // (2 * count)))
                windows = (sources[k : k + MAX_ROWS] for k in range(0, len(sources), MAX_ROWS))
                chunks = [window[k : k + size] for window in windows for k in range(0, len(window), size)]
                queue = ChunkQueue(chunks, self._begin)
                model, device = [ray.put(self.model)], "cuda" if self.gpus else "cpu"
                worker = ray.remote(num_cpus=1, num_gpus=self.gpus)(ClusterWorker)
                create = partial(worker.remote, model, setup, device)
                for row in Workers(ray, create, queue).iterate_rows(count):
                    self._count(row)
                    bar.update()
        finally:
            ray.shutdown()

    def _plan_workers(self, ray: ModuleType, files: int) -> tuple[int, Setup]:
        """Return the number of workers: one for each CPU, or share of a GPU, of the cluster; and what they need to know."""
        resources, gpus = ray.cluster_resources(), self.gpus
        room = resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 0)
        if room < 1:
            raise UserError(f"gpus={gpus:g}: expected a cluster that has them (found {resources.get('GPU', 0):g} GPUs)")
        count = min(self.config["workers"] or int(room), files)
        return count, self.setup._replace(processes=math.ceil(count / max(1, len(ray.nodes()))))

    @property
    def gpus(self) -> float:
        """The share of a GPU that each worker has."""
        is_asked = self.config["device"] not in ("auto", "cpu")
        return float(is_asked) if self.config["gpus"] is None else self.config["gpus"]

    def _begin(self, chunk: Sequence[RemoteFile]) -> list[RemoteFile]:
        if chunk[0].number % MAX_ROWS == 0:
            self.manifest.begin([source.digest for source in self._sources[chunk[0].number :][:MAX_ROWS]])
        return list(chunk)

    def _count(self, row: ManifestRow) -> None:
        if row.status == FULL:
            raise DiskError(f"{row.reason}; the same command does the others when there is room")
        self.manifest.record(row)
        self.counts[row.status] += 1
        self._bytes += row.bytes
        self._pixels += row.width * row.height * row.frames
        if row.reason and self.counts[REFUSED] + self.counts[FAILED] <= MAX_FAILURES:
            tqdm.write(f"skipped: {row.reason}", file=sys.stderr)

    def _report_end(self, seconds: float) -> None:
        """Print what was done in one line, or raise it as a `UserError` if an image has failed, now or before."""
        counts, output = self.counts, self.setup.output
        rate = self._pixels / 1e6 / max(seconds, 1e-3)
        done = f"{format_count(counts[DONE], 'image')} upscaled {self.label} into {output} ({format_bytes(self._bytes)}) in "
        parts = [f"{done}{seconds:.1f} s, {rate:.{1 if rate >= 1 else 3}f} megapixels/s"] if counts[DONE] else []
        parts += [f"{format_count(counts['before'], 'image')} finished before"] if counts["before"] else []
        failed = counts[FAILED] + counts[REFUSED] + counts["refused before"]
        if counts["refused before"]:
            parts.append(
                f"{format_count(counts['refused before'], 'image')} refused before: overwrite=true tries all again"
            )
        if failed:
            where = f"see {CLUSTER_RESULTS} in {output}"
            raise UserError("; ".join([f"{format_count(failed, 'image')} could not be upscaled, {where}", *parts]))
        print("; ".join(parts))
