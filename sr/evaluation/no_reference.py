"""Evaluate images of which there is no HR: result images, or a net's results of LR images, by metrics without reference."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

from sr.checkpoint.interpolate import describe_interpolation
from sr.config import schema
from sr.config.build import build_part, select_device
from sr.config.options import EvaluateOptions
from sr.data.evaluation_set import check_frames
from sr.data.fingerprint import OTHER, UsedSet
from sr.data.headers import read_headers
from sr.data.image_part import name_images
from sr.evaluation.loading import build_predictor, load_net
from sr.evaluation.no_reference_report import NoReferenceReport, describe_missing
from sr.evaluation.predictor import MAX_NET_LENGTH, ImagePredictor, NetPredictor, list_tags
from sr.image.batch import Pair
from sr.image.color import rgb_to_gray
from sr.image.levels import round_to_levels, to_unit
from sr.image.listing import list_images
from sr.image.read import read_levels
from sr.image.resize import upscale_bicubic
from sr.inference.memory import report_out_of_memory
from sr.lifecycle.provenance import fingerprint_sets
from sr.lifecycle.run_start import RunStart
from sr.lifecycle.tracked_run import TrackedRun
from sr.metric.key import MetricKey
from sr.metric.no_reference import NAME, NoReference
from sr.metric.score import group_by_image
from sr.record.result import SetResult
from sr.record.run_name import MAX_LENGTH
from sr.runtime.error import UserError
from sr.runtime.terminal import create_progress_bar

Values = dict[str, float]
DATA = ("data", "profile")  # config groups that belong to images with HR


class Images(NamedTuple):
    """The images of a folder."""

    files: list[Path]
    names: list[str]
    sizes: list[tuple[int, int]]  # (height, width)


class NoReferenceEvaluation:
    """Evaluates what a config names. `choices` are the choices of its groups, `overrides` the words of the command line."""

    def __init__(self, cfg: DictConfig, choices: dict[str, str], overrides: list[str]) -> None:
        self.tracker = build_part(schema.to_plain(cfg.track), "track")
        self.device = select_device(cfg.device, needs_float64=True)
        option = "images" if cfg.input is None else "input"
        folder = Path(cfg[option]).expanduser()
        self.images = _list_images(folder, option, cfg.scale)
        self.name = folder.resolve().name
        loaded = load_net(cfg, choices, self.tracker, self.device) if option == "input" else None
        self.config, choices = _select_options(cfg, choices)
        if self.config["cost"]:
            raise UserError(
                f"cost={self.config['cost']}: is measured with data.test=[…] only (found {option}=); leave it out"
            )
        self.protocol: NoReference = build_part(self.config["metric"], "metric")
        if option == "images":
            self.predictor = ImagePredictor(folder, {}, self.protocol)
        else:
            self.predictor = build_predictor(self.config, choices, loaded, {}, self.protocol, self.device)
        self.sizes = dict(zip(self.images.names, self._compute_result_sizes(), strict=True))
        self._check_sizes(f"{option}={cfg[option]}")
        self.run_start = RunStart("evaluate", self.config, choices, overrides, self._format_name())
        conditions = {"protocol": self.protocol.describe()}
        # Result images are no images that other programs could have been tested on.
        context = OTHER if option == "images" else "test"
        self.used = UsedSet(context, self.name if context == "test" else "images", self.images.files, conditions)
        self.report_arguments = (self.config, self.protocol, self.predictor, None, loaded.sha256 if loaded else None)
        self._values: list[Values] = []
        self._bicubic: list[Values] = []

    def run(self) -> None:
        """Evaluate all images; what was measured is saved, however the run ends."""
        fingerprint = fingerprint_sets(self.config, [self.used])
        run = TrackedRun(self.run_start, self.tracker, self.run_start.create_folder())
        report = NoReferenceReport(run, *self.report_arguments)
        with run.open(report, self.protocol.name, list_tags(self.config), self.device, fingerprint):
            try:
                self._measure_images()
            except BaseException:  # Ctrl-C as well
                if self._values:
                    report.unfinished[self.name] = self._make_result(is_unfinished=True)
                raise
            result = report.results[self.name] = self._make_result()
            result.notes += describe_missing(result, self.sizes)
            self._log(result)

    def _measure_images(self) -> None:
        """Measure the images one after another, with bicubic interpolation first."""
        with create_progress_bar(len(self.images.files), self.name) as bar:
            for file, name in zip(self.images.files, self.images.names, strict=True):
                levels = read_levels(file)
                with report_out_of_memory(f"{file}: this image", "remove it, or use a machine with more memory"):
                    if isinstance(self.predictor, NetPredictor):
                        bicubic, levels = self._upscale(levels, name)
                        self._bicubic.append(self.protocol(bicubic))
                    self._values.append(self.protocol(levels.to(self.device)))
                bar.update()

    def _upscale(self, levels: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Return the results of bicubic interpolation and of the net, in the depth of the LR image, `[C, s·h, s·w]`."""
        rgb = to_unit(levels).expand(3, -1, -1)[None].to(self.device)
        lr = rgb_to_gray(rgb) if self.config["color"] == "gray" else rgb
        sr = self.predictor.predict(Pair(lr, lr), [name], self.name, len(levels) == 1)
        if not sr.isfinite().all():
            raise UserError(f"{self.name}/{name}: the net's output is NaN or infinite; its weights are damaged")
        results = upscale_bicubic(lr, self.config["scale"]), sr
        return tuple(round_to_levels(image[0], levels.dtype) for image in results)

    def _make_result(self, is_unfinished: bool = False) -> SetResult:
        values, bicubic = _to_columns(self._values), _to_columns(self._bicubic)
        names = self.images.names[: len(self._values)]
        return SetResult(
            count=len(names),
            metrics={} if is_unfinished else _compute_means(values),
            bicubic={} if is_unfinished else _compute_means(bicubic),
            per_image=group_by_image(names, values, {key: column[: len(names)] for key, column in bicubic.items()}),
            protocol=self.protocol.describe(),
            interpolated=describe_interpolation(self.config).get("interpolated"),
            tile=max(self.predictor.tiles, default=None),
            is_unfinished=is_unfinished,
            **({} if is_unfinished else self.predictor.measure_cost()),
        )

    def _log(self, result: SetResult) -> None:
        """Log the means, without those that no image has."""
        points = {MetricKey("test", self.name, key): value for key, value in result.metrics.items()}
        points |= {MetricKey("test", self.name, key, "bicubic"): value for key, value in result.bicubic.items()}
        columns = {key.column(self.protocol, ""): value for key, value in points.items() if not math.isnan(value)}
        self.tracker.log_points(columns, 0)
        self.tracker.mark_saved(0)

    def _compute_result_sizes(self) -> list[tuple[int, int]]:
        factor = self.config["scale"] if isinstance(self.predictor, NetPredictor) else 1
        return [(factor * height, factor * width) for height, width in self.images.sizes]

    def _check_sizes(self, typed: str) -> None:
        """Raise if all results are too small for a metric; it would have no value at all."""
        height, width = max(self.sizes.values(), key=min)
        for name, metric in self.protocol.also.items():
            if min(height, width) < metric.min_side:
                results = "results" if isinstance(self.predictor, NetPredictor) else "images"
                raise UserError(
                    f"{typed}: expected {results} of at least {metric.min_side}×{metric.min_side} pixels, which {name} needs "
                    f"(the largest has {width}×{height}); name a folder of larger images"
                )

    def _format_name(self) -> str:
        scale = f" x{self.config['scale']}" if self.config["scale"] else ""
        return f"{self.predictor.name.lower()[:MAX_NET_LENGTH]} evaluate{scale} {self.name}"[:MAX_LENGTH].strip()


def _list_images(folder: Path, option: str, scale: int | None) -> Images:
    """Return all images of a folder; raise if one cannot be read, or holds several frames.

    The result `baby_x4.png` has the name of its LR image, so that results of several programs can be compared.
    """
    files = list_images(folder, option, is_complete=True)
    headers = read_headers(files)
    check_frames(zip(files, headers, strict=True), f"{option}={folder}")
    names = name_images(files)
    short = [name.removesuffix(f"_x{scale}") for name in names] if option == "images" else names
    return Images(
        files, short if len(set(short)) == len(short) else names, [(header.height, header.width) for header in headers]
    )


def _select_options(cfg: DictConfig, choices: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the config and its choices without the parts that need HR, and with the protocol that needs none."""
    also = OmegaConf.to_container(cfg.metric.also)
    with open_dict(cfg):
        for key in DATA:
            cfg.pop(key, None)
        cfg.metric = {"_target_": "sr.metric.no_reference.NoReference", "scale": cfg.scale, "also": also}
    choices = {group: choice for group, choice in choices.items() if group.partition("/")[0] not in DATA}
    choices |= {"metric": NAME}
    return schema.resolve_config(cfg, choices, EvaluateOptions), choices


def _to_columns(values: Sequence[Values]) -> dict[str, list[float]]:
    """Return the values of each metric: `[{"niqe_matlab": 4.1}, …]` -> `{"niqe_matlab": [4.1, …]}`."""
    return {key: [value[key] for value in values] for key in (values[0] if values else ())}


def _compute_means(columns: dict[str, list[float]]) -> Values:
    """Return the means over the images that have a value; nan without any."""
    return {key: torch.tensor(column, dtype=torch.float64).nanmean().item() for key, column in columns.items()}
