"""Read what the folder of a training or of an evaluation holds, without torch."""

import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from sr.comparison.method import list_evaluation_options
from sr.comparison.run import ComparedRun, SetScore, Skipped
from sr.comparison.stored_options import (
    find_training,
    list_training_options,
    read_choices,
    read_image_sets,
    read_seed,
    read_yaml,
)
from sr.config.diff import flatten
from sr.metric.key import MetricKey
from sr.record.identity import FINISHED, Identity, read_identity
from sr.record.result import (
    EVALUATION_FILE,
    PER_IMAGE_FILE,
    EvaluationResult,
    Metrics,
    SetResult,
    TrainingResult,
    read_image_results,
    read_run_result,
    read_set_results,
)
from sr.record.run_folder import CHOICES_FILE, CONFIG_FILE
from sr.runtime.error import UserError

BICUBIC = "bicubic_"  # before the name of a metric of an image
WEIGHTS = "weights"  # the option of a checkpoint whose training is not known: the beginning of its sha256
UNKNOWN_TRAINING = "the run that trained its checkpoint is not here: it has no seed, and is a group of its own"
LEAK = "LEAK, the net was trained on images of the test set, and the result is too good: "
MAX_LEAKS = 3  # that a note names
TEST = "test/"  # before the name of a set in per_image.json


def read_run(folder: Path) -> ComparedRun | Skipped:
    """Read the folder of a run, or return why it cannot be compared. A run without results has no scores."""
    identity = read_identity(folder)
    if identity is not None and identity.is_alive:
        return Skipped(folder.name, "it is still running")
    try:
        result = read_run_result(folder)
        config, choices = read_yaml(folder / CONFIG_FILE), read_choices(folder / CHOICES_FILE)
        is_evaluation = isinstance(result, EvaluationResult) or (folder / EVALUATION_FILE).exists()
        read = _read_evaluation if is_evaluation else _read_training
        run = read(folder, config, choices, result)
    except UserError as error:
        return Skipped(folder.name, f"it is damaged: {error}")
    except (AttributeError, TypeError, ValueError, LookupError) as error:  # anybody may have changed these files
        return Skipped(folder.name, f"it is damaged: its files are not as sr writes them ({error!r})")
    run.id, run.run_id, run.status = _identify(folder, identity, result)
    if not run.scores and not is_evaluation:
        run.notes.append(_explain_missing_results(identity, result))
    elif run.status not in (None, FINISHED):
        run.notes.append(f"it ended as {run.status}; the results that it has are compared")
    return run


def read_evaluation_file(file: Path) -> ComparedRun | Skipped:
    """Read an evaluate.json that does not lie in the folder of a run: a copy, or that of another program."""
    try:
        scores, notes = _read_scores(file, {})
    except UserError as error:
        return Skipped(str(file), f"it is damaged: {error}")
    name = file.parent.name if file.name == EVALUATION_FILE else file.stem
    options = {"file": str(file.resolve())}
    return ComparedRun(id=str(file.resolve()), name=name, net=name, options=options, scores=scores, notes=notes)


def is_trained(run: ComparedRun) -> bool:
    """Return whether the options of the training are known."""
    return "model" in run.choices


def _identify(folder: Path, identity: Identity | None, result: Any) -> tuple[str, str | None, str | None]:
    """Return our ID of a run, that of MLflow, and its status."""
    if identity is None:
        return str(folder.resolve()), getattr(result, "run_id", None), getattr(result, "status", None)
    return identity.id, identity.run_id or getattr(result, "run_id", None), identity.status


def _explain_missing_results(identity: Identity | None, result: Any) -> str:
    status = identity.status if identity else getattr(result, "status", None)
    if identity is not None and identity.is_orphaned:
        return "it has no test results: its process has ended"
    if status not in (None, FINISHED):
        reason = f" ({identity.exit})" if identity is not None and identity.exit else ""
        return f"it has no test results, and ended as {status}{reason}"
    return "it has no test results; evaluate it: python -m sr.evaluate checkpoint=…"


def _read_training(folder: Path, config: dict[str, Any], choices: dict[str, str], result: Any) -> ComparedRun:
    """Read a training: its test results, image by image, or of earlier versions of sr the means alone."""
    result = result if isinstance(result, TrainingResult) else TrainingResult()
    images = read_image_results(folder / PER_IMAGE_FILE) or {}
    data = read_image_sets(folder, "test")
    per_image = {key.removeprefix(TEST): part.images for key, part in images.items() if key.startswith(TEST)}
    means, bicubic = _list_test_means(result.metrics), _list_test_means(result.bicubic)
    scores = []
    for name in dict.fromkeys([*per_image, *means]):
        values = per_image.get(name, {})
        own, of_bicubic = compute_means(values) if values else (means[name], bicubic.get(name, {}))
        protocol = data.get(name, {}).get("protocol") or result.protocol
        scores.append(
            SetScore(set=name, protocol=protocol, files=_name_files(data.get(name, {}), [*values]), means=own,
                     bicubic=of_bicubic, per_image=values, folder=folder)
        )  # fmt: skip
    leaked = [leak for leak in result.leaks if any(f" shows {score.set}/" in leak for score in scores)][:MAX_LEAKS]
    notes = [f"{LEAK}{', '.join(leaked)}"] if leaked else []
    return ComparedRun(
        id="", name=folder.name, folder=folder, config=flatten(config), choices=choices, notes=notes,
        options=list_training_options(folder, config, choices), seed=read_seed(config), net=choices.get("model.net", ""),
        parameters=result.parameters, ntire_score=result.ntire_score, checkpoint=result.checkpoint,
        checkpoint_sha256=result.checkpoint_sha256, scores=scores,
    )  # fmt: skip


def _read_evaluation(folder: Path, config: dict[str, Any], choices: dict[str, str], result: Any) -> ComparedRun:
    """Read an evaluation, with the options of the training whose checkpoint it evaluated, if that is on this machine."""
    result = result if isinstance(result, EvaluationResult) else EvaluationResult()
    scores, notes = _read_scores(folder / EVALUATION_FILE, read_image_sets(folder, "test"))
    for score in scores:
        score.folder = folder
    run = ComparedRun(
        id="", name=folder.name, folder=folder, config=flatten(config), choices=choices, net=result.net,
        parameters=result.parameters, multiply_adds=result.multiply_adds_1280x720, ntire_score=result.ntire_score,
        checkpoint=result.checkpoint,
        checkpoint_sha256=result.checkpoint_sha256, scores=scores, notes=notes,
    )  # fmt: skip
    training = find_training(folder, result.checkpoint)
    extra = list_evaluation_options(config, result.checkpoint)
    if training is not None:
        trained = read_yaml(training / CONFIG_FILE)
        run.folder, run.config, run.choices = training, flatten(trained), read_choices(training / CHOICES_FILE)
        run.seed, run.options = read_seed(trained), list_training_options(training, trained, run.choices) | extra
    elif result.images is not None:
        run.net = PurePath(result.images).name
        run.options = {"images": str(Path(result.images).expanduser().absolute())}
    elif result.checkpoint is not None:
        run.options = extra | {"model.net": result.net, WEIGHTS: (result.checkpoint_sha256 or result.checkpoint)[:12]}
        notes.append(UNKNOWN_TRAINING)
    else:
        run.options = {"model.net": choices.get("model.net", result.net)} | extra
    run.options.setdefault("scale", str(config.get("scale", result.scale)))
    return run


def compute_means(per_image: Mapping[str, Metrics]) -> tuple[Metrics, Metrics]:
    """Return the means over images of the metrics of a net, and of bicubic interpolation.

    An image without a value of a metric (nan) is left out of the mean of that metric.
    """
    columns: dict[str, list[float]] = {}
    for values in per_image.values():
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    means = {name: _compute_mean(column) for name, column in columns.items()}
    own = {name: value for name, value in means.items() if not name.startswith(BICUBIC)}
    return own, {name.removeprefix(BICUBIC): value for name, value in means.items() if name.startswith(BICUBIC)}


def _compute_mean(values: list[float]) -> float:
    values = [value for value in values if not math.isnan(value)]
    return statistics.fmean(values) if values else math.nan


def _read_scores(file: Path, data: dict[str, dict[str, Any]]) -> tuple[list[SetScore], list[str]]:
    """Return the results of an evaluate.json, and notes about sets that were interrupted."""
    scores, notes = [], []
    for name, result in (read_set_results(file) or {}).items():
        if result.is_unfinished:
            notes.append(f"{name} was interrupted after {result.count} images, and is left out")
            continue
        notes += [f"{name}: {LEAK}{', '.join(result.leaks[:MAX_LEAKS])}"] if result.leaks else []
        notes += [f"{name}: evaluated in tiles of {result.tile} LR pixels"] if result.tile else []
        scores.append(_make_score(name, result, data.get(name, {})))
    return scores, notes


def _make_score(name: str, result: SetResult, data: dict[str, Any]) -> SetScore:
    return SetScore(
        set=name, protocol=result.protocol or data.get("protocol", {}), files=_name_files(data, [*result.per_image]),
        means=result.metrics, bicubic=result.bicubic, per_image=result.per_image, ms_per_image=result.ms_per_image,
        profile=result.profile,
    )  # fmt: skip


def _list_test_means(metrics: Metrics) -> dict[str, Metrics]:
    """Return the means of a summary by set."""
    sets: dict[str, Metrics] = {}
    for key, value in _parse_keys(metrics):
        if key.stage == "test" and not key.checkpoint and not key.weights:
            sets.setdefault(key.set, {})[key.measure] = value
    return sets


def _parse_keys(metrics: Metrics) -> Iterator[tuple[MetricKey, float]]:
    for name, value in metrics.items():
        try:
            yield MetricKey.parse(name), value
        except ValueError:  # `best/step`
            continue


def _name_files(data: Mapping[str, Any], images: list[str]) -> dict[str, str]:
    """Return the sha256 of a set's files by name of the image; those of LR have their paths as names."""
    named: dict[str, str] = {}
    known = set(images)
    for path, digest in data.get("files", {}).items():
        name = path.rpartition("/")[2].rpartition(".")[0]
        if name not in known or name in named:  # an image whose stem is not unique is named by the end of its path
            parts = path.split("/")
            ends = ("/".join(parts[-depth:]) for depth in range(1, len(parts) + 1))
            name = next((end for end in ends if end in known and end not in named), path)
        named[name] = digest
    return named
