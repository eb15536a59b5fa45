"""Upscale image files: find the images, decide what they become, skip what is finished, and upscale the rest."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sr.checkpoint.interpolate import format_label, interpolate_weights
from sr.checkpoint.load import LoadedNet
from sr.image.read import probe
from sr.prediction.api import load
from sr.prediction.batch import Batch
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
    resolve_output,
)
from sr.prediction.manifest import NAME as MANIFEST_NAME
from sr.prediction.manifest import Manifest
from sr.prediction.memory_size import read_memory_size
from sr.prediction.result_size import ResultSize, parse_size
from sr.prediction.sources import InputImage, LeftOut, Sources, describe_left_out, find_sources, format_name
from sr.prediction.standard_streams import StandardStreams
from sr.pretrained.networks import find_default, list_networks
from sr.runtime.error import UserError
from sr.runtime.terminal import create_progress_bar, format_count, print_note
from sr.track.run_address import parse_run_id

DEFAULT_SCALE = 2
PREVIEW = "preview.png"


def upscale_files(config: Mapping[str, Any]) -> None:
    """Upscale the images that `input` names into `output`; `config` has the options of `PredictOptions`.

    An image that cannot be upscaled is reported and left out; a `UserError` at the end counts these. Results that the same
    network has written with the same options are not computed again.
    """
    for option in ("checkpoint", "interpolate"):
        if config[option] is not None and parse_run_id(str(config[option])) is not None:
            raise UserError(
                f"{option}={config[option]}: expected a file; the summary.json of that run names its checkpoints"
            )
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
    probed, failures = _probe(images)
    if len(images) == 1 and failures:
        raise failures[0].error
    model, name = _load_model(config, result_size, probed)
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
    preview = _name_preview(jobs, output, manifest) if config["preview"] else None
    batch = Batch(config, model, jobs, output, manifest, preview)
    if not config["overwrite"] and not output.is_stdout:
        require_new([job.target for job in batch.list_new()], output)
        if preview and not (manifest and manifest.has_result(preview)):
            require_new([preview], output)
    create_folders(batch.jobs, output)
    if manifest:
        manifest.remove_temporary_files()
    batch.execute(f"{result_size.describe(model.scale)}{name}", left_out, failures)


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
    return Manifest(folder, is_hidden=not is_folder)


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
        return jobs[0].target.with_name(f"{jobs[0].target.stem}_{PREVIEW}")
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


def _probe(images: Sequence[InputImage]) -> tuple[list[ProbedImage], list[Failure]]:
    """Read the headers of all images, and say of which that is not possible."""
    probed, failures = [], []
    with create_progress_bar(len(images), "read headers") as bar:
        for source in images:
            try:
                probed.append(ProbedImage(source, probe(source.path)))
            except UserError as error:
                failures.append(Failure(source.path, error))
            bar.update()
    return probed, failures


def _load_model(
    config: Mapping[str, Any], result_size: ResultSize, images: Sequence[ProbedImage]
) -> tuple[LoadedNet, str]:
    """Return the network, and what to add to the scale where it is named."""
    checkpoint, scale, name = config["checkpoint"], config["scale"], ""
    if checkpoint is None:
        network = find_default(scale or _choose_scale(result_size, images))
        checkpoint, name = network.name, f" by {network.name}"
    model = load(checkpoint, config["device"], config["trust"], scale)
    if config["interpolate"] is not None:
        other, alpha = config["interpolate"], config["alpha"]
        model = interpolate_weights(model, other, alpha, device=model.device, trust=config["trust"])
    return model, f"{name}{format_label({**config, 'checkpoint': checkpoint})}"


def _choose_scale(result_size: ResultSize, images: Sequence[ProbedImage]) -> int:
    """Return the smallest scale of sr's own networks that is enough for all results, or the largest one."""
    if not result_size.is_given:
        return DEFAULT_SCALE
    scales = sorted(network.scale for network in list_networks() if network.package is None) or [DEFAULT_SCALE]
    factors = [1.0]
    for image in images:
        try:
            factors.append(result_size.compute_factor(image.header))
        except UserError:  # reported with the image later
            continue
    return next((scale for scale in scales if scale >= max(factors)), scales[-1])
