"""The saved view `sr` of MLflow's page of charts: validation PSNR and training losses first, then images, then the rest.

By itself the page sorts charts by name, and prints all parameters above each image. A saved view is a tag of the
experiment that holds a state of the page; its menu *Views* lists them, and an address names one by `viewStateShareKey`.
Ours names the sections of charts in their order, the charts of the first two, and the columns of the list of runs. The
page adds all other charts itself. It has no column of the status, which is the symbol before the time of a run.
"""

import base64
import contextlib
import json
import re
import time
import zlib
from collections.abc import Collection, Iterable
from typing import Any

VIEW_NAME = "sr"
TAG = f"mlflow.sharedViewState.{VIEW_NAME}"
MAX_TAG_LENGTH = 5000  # characters
COMPRESSED = "deflate;"  # before a state that is compressed
FIRST, IMAGES = "PSNR and loss", "images"  # sections that only this view has
MODEL, SYSTEM = "Model metrics", "System metrics"  # those that the page always has
ORDER = (FIRST, IMAGES, "val", "test", "train", "", MODEL, SYSTEM)  # of sections; "": others
LOSSES = ("train/loss", "train/loss_g", "train/loss_d")  # these first
SYSTEM_PREFIX = "system/"
# Columns of every run, after those of metrics, in the notation of the page. One that no run has is not shown.
COLUMNS = tuple(
    f"{kind}.`{name}`"
    for kind, names in {
        "attributes": ("Duration",),
        "params": ("model.loss", "model.adversarial"),
        "tags": ("sr.net", "sr.data", "sr.scale", "sr.seed", "sr.protocol", "sr.sweep", "sr.group", "sr.exit"),
    }.items()
    for name in names
)
METRIC_COLUMN = re.compile(r"metrics\.`((?:test|val)/.*/psnr|val/.*/psnr_best)`")  # results, last and best values
MAX_METRIC_COLUMNS = 8


class SavedView:
    """Extends the view by the charts of a run; once a user has changed the view on the page, it stays as it is."""

    def __init__(self) -> None:
        self._names: set[str] = set()  # metrics and images that the view has

    def extend(self, client: Any, experiment_id: str, metrics: Iterable[str], images: Iterable[str]) -> None:
        """Add charts of these metrics and images. What the server refuses is left out: the view is a convenience."""
        from mlflow.exceptions import MlflowException

        metrics, images = {*metrics}, {*images}
        if metrics | images <= self._names:
            return
        with contextlib.suppress(MlflowException):
            tag = extend_view(client.get_experiment(experiment_id).tags.get(TAG), metrics, images)
            if tag is not None:
                client.set_experiment_tag(experiment_id, TAG, tag)
            self._names |= metrics | images


def extend_view(tag: str | None, metrics: Collection[str], images: Collection[str]) -> str | None:
    """Return the tag of the view with charts of these metrics and images added, or None if there is nothing to change."""
    try:
        view = json.loads(tag) if tag else {"createdAt": int(time.time() * 1000)}
        state = _decompress(view["state"]) if tag else {"compareRunCharts": [], "compareRunSections": []}
        is_changed_by_user = view.get("updatedAt", view["createdAt"]) != view["createdAt"]
        old_charts = {(chart["metricSectionId"], chart["displayName"]) for chart in state["compareRunCharts"]}
        old_sections = {section["name"] for section in state["compareRunSections"]}
        old_columns = state.get("selectedColumns", [])
    except (ValueError, KeyError, TypeError, zlib.error):
        return None
    charts = old_charts | {(FIRST, name) for name in metrics if _is_first(name)} | {(IMAGES, name) for name in images}
    named = {name.rpartition("/")[0] for name in metrics if not name.startswith(SYSTEM_PREFIX)}
    sections = old_sections | {FIRST, IMAGES, MODEL, SYSTEM} | (named - {""})
    columns = _list_columns(metrics, old_columns)
    if is_changed_by_user or (charts, sections, columns) == (old_charts, old_sections, old_columns):
        return None
    state = {
        "compareRunCharts": [_make_chart(*chart) for chart in sorted(charts, key=_rank_chart)],
        "compareRunSections": [_make_section(name) for name in sorted(sections, key=_rank_section)],
        "isAccordionReordered": True,
        "selectedColumns": columns,
    }
    view |= {"name": VIEW_NAME, "updatedAt": view["createdAt"], "state": _compress(state)}
    extended = json.dumps(view)
    return extended if len(extended) <= MAX_TAG_LENGTH else None


def _list_columns(metrics: Iterable[str], old_columns: Iterable[str]) -> list[str]:
    """Return the columns of the list of runs: PSNR of tests, best and last PSNR of validations, and what runs differ in."""
    known = filter(METRIC_COLUMN.fullmatch, {*old_columns, *(f"metrics.`{name}`" for name in metrics)})
    return [*sorted(known)[:MAX_METRIC_COLUMNS], *COLUMNS]


def _is_first(metric: str) -> bool:
    """Return True for what shows best how a training goes: PSNR of a validation set, and the losses."""
    return metric.startswith("train/loss") or (metric.startswith("val/") and metric.endswith("/psnr"))


def _make_chart(section: str, name: str) -> dict[str, Any]:
    """Return a card of the page: curves of a metric, or an image, which comes without the parameters of its run."""
    common = {"uuid": f"{section}/{name}", "metricSectionId": section, "displayName": name, "isGenerated": True}
    if section == IMAGES:
        return {**common, "type": "IMAGE", "imageKeys": [name], "step": 0, "showRunParams": False}
    options = {"xAxisKey": "step", "scaleType": "linear", "xAxisScaleType": "linear", "lineSmoothness": 0}
    options |= {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True, "selectedXAxisMetricKey": "", "range": {}}
    return {**common, "type": "LINE", "metricKey": name, "runsCountToCompare": 10, **options}


def _make_section(name: str) -> dict[str, Any]:
    """Return a section of the page; the page would sort new charts wrongly into one that is not `isReordered`."""
    return {"uuid": name, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": True}


def _rank_chart(chart: tuple[str, str]) -> tuple[bool, bool, int, str]:
    section, name = chart
    rank = LOSSES.index(name) if name in LOSSES else len(LOSSES)
    return section == IMAGES, not name.startswith("val/"), rank, name


def _rank_section(name: str) -> tuple[int, str]:
    stage = name if name in ORDER else name.partition("/")[0]
    return ORDER.index(stage if stage in ORDER else ""), name


def _compress(state: dict[str, Any]) -> str:
    return COMPRESSED + base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()


def _decompress(text: str) -> Any:
    """Return the state of a view; one that is not compressed was made elsewhere, but is valid as well."""
    if not text.startswith(COMPRESSED):
        return json.loads(text)
    return json.loads(zlib.decompress(base64.b64decode(text.removeprefix(COMPRESSED))))
