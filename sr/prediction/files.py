"""Upscale image files: find the images, decide what they become, skip what is finished, and upscale the rest."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sr.checkpoint.backend import GRAPH_BACKENDS, change_backend, check_backend
from sr.checkpoint.members import list_members, load_members
from sr.config.value import format_value
from sr.image.file_format import ReadOptions
from sr.image.formats import read_suffix
from sr.image.read import probe
from sr.inference.footprint import assume_net_bytes
from sr.prediction.batch import Batch
from sr.prediction.engine.engine import check_engine
from sr.prediction.engine.staging import remove_old_staging
from sr.prediction.jobs import (
    Failure,
    Job,
    Output,
    ProbedImage,
    create_folders,
    list_jobs,
    require_depth,
    require_new,
    require_quality,
    require_video,
    resolve_output,
)
from sr.prediction.manifest import CLUSTER_MANIFEST, Manifest
from sr.prediction.manifest import NAME as MANIFEST_NAME
from sr.prediction.memory_size import read_memory_size
from sr.prediction.network import find_trained_options, load_network
from sr.prediction.read_options import get_read_options
from sr.prediction.result_size import ResultSize, parse_size
from sr.prediction.self_check import measure_backend
from sr.prediction.sources import InputImage, LeftOut, Sources, describe_left_out, find_sources, format_name
from sr.prediction.standard_streams import STDOUT, StandardStreams
from sr.pretrained.networks import resolve_checkpoint
from sr.runtime import malloc
from sr.runtime.error import UserError
from sr.runtime.terminal import create_progress_bar, format_count, print_note
from sr.track.run_address import is_address
from sr.track.stored_checkpoint import find_file

PREVIEW = "preview.png"


def upscale_files(config: Mapping[str, Any]) -> None:
    """Upscale the images that `input` names into `output`; `config` has the options of `PredictOptions`.

    An image that cannot be upscaled is reported and left out; a `UserError` at the end counts these. Results that the same
    network has written with the same options are not computed again.
    """
    config = {**config, **{option: find_file(option, config[option]) for option in ("checkpoint", "interpolate")}}
    check_engine(config)
    check_backend(config["backend"], config["precision"], config["device"], config["engine"])
    if config["backend"] in GRAPH_BACKENDS:
        config = {**config, "device": "cpu"}
    if config["engine"] == "ray":
        from sr.prediction.engine.ray import upscale_by_ray  # imports pyarrow

        upscale_by_ray(config)
        return
    _check_uncertainty(config)
    malloc.retain_freed_memory()  # of a tile, for the next one
    config = {**config, "memory": read_memory_size(config["memory"])}
    result_size = parse_size(config["outscale"], config["size"])
    with StandardStreams(config["input"], config["output"]) as streams:
        folder = config["output"] and Path(config["output"]).expanduser()
        sources = find_sources(str(streams.paths.input or "") or config["input"], config["recursive"], folder)
        if streams.paths.output and len(sources.images) > 1:
            raise UserError(f"output=-: expected a single image (found {len(sources.images)}); type output=FOLDER")
        output = resolve_output(config["output"], config["format"], len(sources.images), streams.paths.output)
        _upscale(config, sources, output, result_size)


def _upscale(config: Mapping[str, Any], sources: Sources, output: Output, result_size: ResultSize) -> None:
    manifest = _open_manifest(output, sources)
    results = manifest.list_results() if manifest else set()
    images, left_out = _leave_results_out(sources, results)
    probed, failures = _probe(images, get_read_options(config))
    if len(images) == 1 and failures:
        raise failures[0].error
    reference, name = load_network(config, result_size, probed)
    cache = Path(config["paths"]["cache"]).expanduser()
    model = change_backend(reference, config["backend"], config["precision"], cache)
    if model is not reference:
        assume_net_bytes(model.net, reference.net)
    trained = find_trained_options(config, model)
    if trained:
        config = {**config, **trained}
        probed, failures = _probe(images, get_read_options(config))
    jobs, more_failures = list_jobs(probed, output, result_size, model.scale)
    failures += more_failures
    if len(images) == 1 and failures:
        raise failures[0].error
    require_depth(jobs, config["depth"])
    if left_out:
        print_note(f"input: {describe_left_out(left_out)}")
    if output.format is None:
        _report_other_formats(jobs)
    require_quality(jobs, config["quality"])
    require_video(jobs, config["codec"], config["crf"])
    members = load_members(config["uncertainty"], model, config["trust"], find=partial(find_file, "uncertainty"))
    preview = _name_preview(jobs, output, manifest) if config["preview"] else None
    batch = Batch(config, model, jobs, output, manifest, preview, members)
    if not config["overwrite"] and not output.is_stdout:
        require_new([job.target for job in batch.list_new()], output)
        others = [*([preview] if preview else []), *batch.list_maps()]
        require_new([path for path in others if not (manifest and manifest.has_result(path))], output)
    create_folders(batch.jobs, output)
    if manifest:
        manifest.remove_temporary_files()
        remove_old_staging(manifest.folder)
    if model is not reference:
        difference = measure_backend(batch.jobs, model, reference, _name_backend(config), get_read_options(config))
        if difference:
            print_note(difference)
    batch.execute(f"{result_size.describe(model.scale)}{name}", left_out, failures)


def _name_backend(config: Mapping[str, Any]) -> str:
    """Return the options that choose how the network is computed, as they are typed."""
    typed = [f"backend={config['backend']}"] if config["backend"] else []
    return " ".join([*typed, *(["precision=bf16"] if config["precision"] == "bf16" else [])])


def _check_uncertainty(config: Mapping[str, Any]) -> None:
    """Raise if there is no place for maps, or no checkpoint to compare with."""
    option = config["uncertainty"]
    if option is False:
        return
    if config["output"] == STDOUT:
        raise UserError(
            f"uncertainty={format_value(option)}: expected a file or folder for the maps (found output=-); type output=FILE"
        )
    for key in ("outscale", "size"):
        if config[key] is not None:
            raise UserError(
                f"{key}={config[key]}: uncertainty= measures the network's own result; leave one of them out"
            )
    for member in list_members(option):
        if not is_address(member) and not resolve_checkpoint(member, "uncertainty").exists():
            raise UserError(f"uncertainty={member}: there is no such file")


def _open_manifest(output: Output, sources: Sources) -> Manifest | None:
    """Return the manifest of the folder `output`; without one, of the folder that holds the images, hidden there.

    None: the result goes to standard output, or there is no such folder that may be written to.
    """
    is_folder = output.path is not None and not output.is_file
    folder = output.path if is_folder else output.path.parent if output.path else sources.folder
    if output.is_stdout:
        return None
    if folder is None or (folder.exists() and not os.access(folder, os.W_OK)):
        place = f"{format_name(folder)} is read-only" if folder else "the images are on several drives"
        print_note(f"no manifest is written, for {place}: the next start will not recognize what is finished")
        return None
    manifest = Manifest(folder, is_hidden=not is_folder)
    if any((manifest.folder / name).is_dir() for name in CLUSTER_MANIFEST):
        from sr.prediction.engine.parquet import adopt_cluster_results  # imports pyarrow

        adopt_cluster_results(manifest)
    return manifest


def _report_other_formats(jobs: Sequence[Job]) -> None:
    """Print which images get another format than their own, because sr cannot write that."""
    counts = Counter((job.header.format, job.format.name) for job in jobs if job.format.name != job.header.format)
    for (own, written), count in counts.items():
        print_note(f"{own} is not written: {format_count(count, 'result')} as {written}; format=png or another chooses")


def _name_preview(jobs: Sequence[Job], output: Output, manifest: Manifest | None) -> Path:
    """Return the file of the sheet of `preview=true`: next to a single result, or in the folder of all results."""
    if output.is_stdout:
        raise UserError("preview=true: expected a file or folder for the result (found output=-); type output=FILE")
    if len(jobs) == 1:
        target = jobs[0].target
        return target.with_name(f"{target.name[: len(target.name) - len(read_suffix(target))]}_{PREVIEW}")
    return (output.path or (manifest.folder if manifest else jobs[0].target.parent)) / PREVIEW


def _leave_results_out(sources: Sources, results: set[str]) -> tuple[list[InputImage], list[LeftOut]]:
    """Return the images, without those found in a folder that are known to be results of an earlier start."""
    images, left_out = [], [entry for entry in sources.left_out if entry.path.name != MANIFEST_NAME]
    for source in sources.images:
        if not source.is_named and os.path.abspath(source.path) in results:  # noqa: PTH100  a link is not followed
            left_out.append(LeftOut(source.path, "a result of an earlier start"))
        else:
            images.append(source)
    if not images:
        raise UserError(
            f"input: expected an image that is no result of this command ({describe_left_out(left_out)}); to upscale results "
            "once more, choose another folder: output=FOLDER"
        )
    return images, left_out


def _probe(images: Sequence[InputImage], options: ReadOptions) -> tuple[list[ProbedImage], list[Failure]]:
    """Read the headers of all images, and say of which that is not possible."""
    probed, failures = [], []
    with create_progress_bar(len(images), "read headers") as bar:
        for source in images:
            try:
                probed.append(ProbedImage(source, probe(source.path, options)))
            except UserError as error:
                failures.append(Failure(source.path, error))
            bar.update()
    return probed, failures
