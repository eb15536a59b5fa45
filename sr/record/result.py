"""The results that a run leaves on disk: summary.json, evaluate.json and per_image.json.

They are written and read only here. Each file says its `schema_version`; files without one are of the time before there
was one, and are read as well. Infinity and NaN, which JSON does not know, are the words `inf`, `-inf` and `nan` there.

One error policy for all readers: None if there is no such file; `UserError` if it is damaged, is something else, or was
written by a later version of sr. Whoever looks through many runs passes `skip_damaged=True`, and gets None for these too.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from sr.record.json_text import to_json
from sr.record.run_file import write_atomic
from sr.runtime.error import UserError
from sr.runtime.special_file import describe_special_file

SUMMARY_FILE, EVALUATION_FILE, PER_IMAGE_FILE = "summary.json", "evaluate.json", "per_image.json"
SCHEMA_VERSION = 1
MAX_BYTES = 100_000_000  # of such a file: anything larger was not written by sr
# Names of version 0 -> names of the fields.
_RUN_FIELDS = {"skipped": "skipped_steps", "returned": "rollbacks"}
_SET_FIELDS = {"n": "count", "unfinished": "is_unfinished"}

Metrics = dict[str, float]
Parsed = TypeVar("Parsed")


@dataclass(kw_only=True)
class RunResult:
    """The end of a run: the fields of summary.json that every command writes."""

    run_id: str | None = None  # the tracker's ID of the run
    status: str | None = None  # FINISHED, FAILED or KILLED
    protocol: dict[str, Any] = field(default_factory=dict)  # `Protocol.describe()`; of an evaluation, by set
    checkpoint: str | None = None  # path: the best one of a training, or the one that was evaluated
    checkpoint_sha256: str | None = None  # of that file, 64 digits

    def to_json(self) -> str:
        """Return the text of summary.json."""
        return to_json({"schema_version": SCHEMA_VERSION, **asdict(self)})


@dataclass(kw_only=True)
class TrainingResult(RunResult):
    """The summary of `sr.run`."""

    steps: int = 0
    skipped_steps: int = 0  # steps without an update, because of NaN or infinite gradients
    rollbacks: int = 0  # times that the NaN guard restored an earlier state
    steps_per_second: float | None = None
    seconds: float = 0.0  # of the whole run
    train_seconds: float = 0.0  # of training alone, without validation
    parameters: int | None = None  # of the net
    multiply_adds_1280x720: int | None = None  # for an output of 1280×720 pixels, if the option `cost` asks for it
    ms_per_image: float | None = None  # for the same output, if the option `cost` asks for it
    ms_per_image_protocol: dict[str, Any] = field(
        default_factory=dict
    )  # how that was measured: device, threads, calls …
    ntire_score: float | None = None  # if the option `cost` asks for it
    ntire_protocol: dict[str, Any] = field(default_factory=dict)  # its baseline and ratios
    energy_wh: Metrics = field(default_factory=dict)  # {"cpu": …, "gpu": …}, as far as the machine measures it
    leaks: list[str] = field(default_factory=list)  # training images that are in evaluation sets
    alarms: dict[str, list[str]] = field(default_factory=dict)  # messages by name of the alarm
    metrics: Metrics = field(default_factory=dict)  # {"test/Set5/psnr": …, "best/val/Set5/psnr": …, "best/step": …}
    bicubic: Metrics = field(default_factory=dict)  # the same metrics of bicubic interpolation


@dataclass(kw_only=True)
class EvaluationResult(RunResult):
    """The summary of `sr.evaluate`; the results of its sets are in evaluate.json."""

    net: str = ""  # name, with everything that changes its numbers: `IMDN+ in tiles of 512`
    published: str | None = None  # the name under which the net is compared with published values
    scale: int | None = None
    parameters: int | None = None
    multiply_adds_1280x720: int | None = None  # for an output of 1280×720 pixels
    ntire_score: float | None = None  # if the option `cost` asks for it
    ntire_protocol: dict[str, Any] = field(default_factory=dict)  # its baseline and ratios
    interpolate: str | None = None  # the second checkpoint, if two were interpolated
    alpha: float | None = None  # and its share
    images: str | None = None  # the folder of images that were evaluated instead of a net
    input: str | None = None  # the folder of LR images without HR whose results were evaluated


@dataclass(kw_only=True)
class UncertaintyResult:
    """The spread of results on one set, and its relation to their error: means over the images, in levels of 8 bits."""

    protocol: dict[str, Any] = field(default_factory=dict)  # what the numbers are of
    metrics: Metrics = field(default_factory=dict)  # {"spread": …, "error": …, "rank_correlation": …}
    per_image: dict[str, Metrics] = field(default_factory=dict)  # the same by image
    groups: list[list[float]] = field(default_factory=list)  # [spread, error] of each tenth of the pixels
    curve: list[float] = field(default_factory=list)  # share of the squared error in k/20 of the pixels, k = 0…20


@dataclass(kw_only=True)
class SetResult:
    """The evaluation of one set of images, as evaluate.json holds it."""

    count: int  # number of images
    metrics: Metrics = field(default_factory=dict)  # means over the images: {"psnr": …, "ssim": …}
    bicubic: Metrics = field(default_factory=dict)  # the same of bicubic interpolation
    per_image: dict[str, Metrics] = field(default_factory=dict)  # {"baby": {"psnr": …, "bicubic_psnr": …}}
    per_volume: dict[str, Metrics] = field(default_factory=dict)  # the same of slices, {"T1": {"psnr": …, "count": 40}}
    protocol: dict[str, Any] = field(default_factory=dict)  # `Protocol.describe()`
    definitions: dict[str, str] = field(default_factory=dict)  # what further metrics depend on, by name
    interpolated: dict[str, Any] | None = None  # {"checkpoint": …, "interpolate": …, "alpha": …}
    tile: int | None = (
        None  # side in LR pixels of the tiles of images that were not upscaled whole; None: there are none
    )
    ms_per_image: float | None = None
    peak_memory_mb: float | None = None
    metrics_ms: Metrics = field(default_factory=dict)  # milliseconds of each metric for an image and its bicubic result
    published: dict[str, Any] | None = None  # the published row, with delta_psnr, delta_ssim and likely_cause
    against: Metrics | None = None  # psnr and ssim of the other evaluation
    uncertainty: UncertaintyResult | None = None
    profile: list[dict[str, Any]] = field(default_factory=list)  # the rows of `sr.evaluation.profile`
    leaks: list[str] = field(default_factory=list)  # images that the net was trained on
    notes: list[str] = field(default_factory=list)
    is_unfinished: bool = False  # interrupted: only `per_image` is there, of the first `count` images


@dataclass(kw_only=True)
class ImageResults:
    """The values of all images of one set that `sr.run` tested, as per_image.json holds them."""

    protocol: str  # its name
    images: dict[str, Metrics]  # {"baby": {"psnr": …, "bicubic_psnr": …}}


def read_run_result(folder: Path, skip_damaged: bool = False) -> TrainingResult | EvaluationResult | None:
    """Return the summary in a run's folder."""
    return _read(folder / SUMMARY_FILE, _parse_run, skip_damaged)


def store_run_id(folder: Path, run_id: str) -> None:
    """Write the tracker's ID of the run into its summary, if there is one, which may be older than the ID."""
    content = _read(folder / SUMMARY_FILE, dict, skip_damaged=True)
    if content is not None and content.get("run_id") != run_id:
        write_atomic(folder / SUMMARY_FILE, to_json(content | {"run_id": run_id}))


def read_set_results(file: Path, skip_damaged: bool = False) -> dict[str, SetResult] | None:
    """Return the results in an evaluate.json, by name of the set."""
    return _read(file, _parse_sets, skip_damaged)


def read_image_results(file: Path, skip_damaged: bool = False) -> dict[str, ImageResults] | None:
    """Return the results in a per_image.json, by stage and name of the set (`test/Set5`)."""
    return _read(file, _parse_image_results, skip_damaged)


def set_results_to_json(sets: Mapping[str, SetResult]) -> str:
    """Return the text of evaluate.json; fields of a set that are empty are left out."""
    defaults = {
        "interpolated": None,
        "published": None,
        "against": None,
        "uncertainty": None,
        "profile": [],
        "per_volume": {},
        "leaks": [],
        "notes": [],
        "definitions": {},
        "is_unfinished": False,
    }
    defaults |= {"metrics_ms": {}, "tile": None, "ms_per_image": None, "peak_memory_mb": None}
    content = {
        name: {key: value for key, value in asdict(result).items() if key not in defaults or value != defaults[key]}
        for name, result in sets.items()
    }
    return to_json({"schema_version": SCHEMA_VERSION, "sets": content})


def image_results_to_json(sets: Mapping[str, ImageResults]) -> str:
    """Return the text of per_image.json."""
    content = {name: asdict(result) for name, result in sets.items()}
    return to_json({"schema_version": SCHEMA_VERSION, "sets": content})


def _read(file: Path, parse: Callable[[dict[str, Any]], Parsed], skip_damaged: bool) -> Parsed | None:
    """Apply the error policy to one file."""
    try:
        if special := describe_special_file(file):  # opening a named pipe would wait for ever
            raise ValueError(special)
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"{file.stat().st_size / 1e6:.0f} MB")
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("no JSON object")
        version = content.get("schema_version", 0)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ValueError(f"schema_version {version}: written by a later version of sr")
        return parse(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if skip_damaged:
            return None
        raise UserError(f"{file}: expected the {file.name} of a run of sr ({error!r})") from None


def _parse_run(content: dict[str, Any]) -> TrainingResult | EvaluationResult:
    values = _select_fields(content, EvaluationResult if "net" in content else TrainingResult, _RUN_FIELDS)
    for name in ("run_id", "status", "checkpoint"):
        if not isinstance(values.get(name), str | None):
            raise TypeError(f"{name} is no text")
    for name in {"metrics", "bicubic", "energy_wh"} & values.keys():
        values[name] = _parse_metrics(values[name])
    return EvaluationResult(**values) if "net" in content else TrainingResult(**values)


def _parse_sets(content: dict[str, Any]) -> dict[str, SetResult]:
    sets = content["sets"] if "schema_version" in content else {k: _nest_metrics(v) for k, v in content.items()}
    results = {}
    for name, part in sets.items():
        values = _select_fields(part, SetResult, _SET_FIELDS)
        for key in {"metrics", "bicubic", "against"} & values.keys():
            values[key] = _parse_metrics(values[key])
        values["per_image"] = {image: _parse_metrics(metrics) for image, metrics in values["per_image"].items()}
        if values.get("uncertainty") is not None:
            values["uncertainty"] = _parse_uncertainty(values["uncertainty"])
        results[name] = SetResult(**values)
    return results


def _parse_uncertainty(part: dict[str, Any]) -> UncertaintyResult:
    values = _select_fields(part, UncertaintyResult, {})
    values["metrics"] = _parse_metrics(values["metrics"])
    values["per_image"] = {image: _parse_metrics(metrics) for image, metrics in values["per_image"].items()}
    return UncertaintyResult(**values)


def _nest_metrics(part: dict[str, Any]) -> dict[str, Any]:
    """Return a set of version 0, in which metrics stand among the other fields, in the form of version 1."""
    others = {f.name for f in fields(SetResult)} | _SET_FIELDS.keys() | {"parameters", "multiply_adds_1280x720"}
    metrics = {key: value for key, value in part.items() if key not in others}
    return {key: value for key, value in part.items() if key in others} | {"metrics": metrics}


def _parse_image_results(content: dict[str, Any]) -> dict[str, ImageResults]:
    sets = content["sets"] if "schema_version" in content else content
    return {
        name: ImageResults(
            protocol=part["protocol"],
            images={image: _parse_metrics(metrics) for image, metrics in part["images"].items()},
        )
        for name, part in sets.items()
    }


def _select_fields(content: dict[str, Any], kind: type, old_names: Mapping[str, str]) -> dict[str, Any]:
    """Return what is a field of the dataclass, under its present name."""
    names = {f.name for f in fields(kind)}
    renamed = {old_names.get(key, key): value for key, value in content.items()}
    return {key: value for key, value in renamed.items() if key in names}


def _parse_metrics(values: dict[str, Any]) -> Metrics:
    """Return metrics as numbers, also those that are the words `inf` and `nan` in the file."""
    return {name: float(value) for name, value in values.items()}
