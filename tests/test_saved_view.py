"""The saved view of MLflow's page: what comes first, how it grows, and that a user's changes to it stay."""

import json
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image

from sr.track.mlflow import MLflow
from sr.track.saved_view import MAX_TAG_LENGTH, TAG, _decompress, extend_view

SET = "val/Set5 x2 edsr"
METRICS = ("train/loss_d", "train/d_fake", "train/loss_g", "test/Set5 x2 edsr/psnr", f"{SET}/psnr", f"{SET}/ssim",
           f"{SET}/psnr_best", "cost/parameters", "system/cpu")  # fmt: skip
IMAGES = (f"{SET}/baby", "test/Set5 x2 edsr/baby")


def decode(tag: str | None) -> dict[str, Any]:
    assert tag is not None
    return _decompress(json.loads(tag)["state"])


def test_psnr_and_losses_come_first_then_images() -> None:
    state = decode(extend_view(None, METRICS, IMAGES))
    sections = [section["name"] for section in state["compareRunSections"]]
    expected = ["PSNR and loss", "images", SET, "test/Set5 x2 edsr", "train", "cost", "Model metrics", "System metrics"]
    assert sections == expected
    charts = state["compareRunCharts"]
    assert [chart["metricKey"] for chart in charts if chart["type"] == "LINE"] == [
        f"{SET}/psnr",
        "train/loss_g",
        "train/loss_d",
    ]
    images = [chart for chart in charts if chart["type"] == "IMAGE"]
    assert [chart["imageKeys"] for chart in images] == [[name] for name in IMAGES]
    assert not any(chart["showRunParams"] for chart in images)  # above each image they would take more space than it
    assert {chart["metricSectionId"] for chart in charts} <= {
        section["uuid"] for section in state["compareRunSections"]
    }
    assert state["isAccordionReordered"]


def test_the_list_of_runs_has_the_columns_that_a_stranger_needs() -> None:
    state = decode(extend_view(None, METRICS, IMAGES))
    assert state["selectedColumns"] == [
        "metrics.`test/Set5 x2 edsr/psnr`", "metrics.`val/Set5 x2 edsr/psnr_best`", "metrics.`val/Set5 x2 edsr/psnr`",
        "attributes.`Duration`", "params.`model.loss`", "params.`model.adversarial`", "tags.`sr.net`", "tags.`sr.data`",
        "tags.`sr.scale`", "tags.`sr.seed`", "tags.`sr.protocol`", "tags.`sr.sweep`", "tags.`sr.group`", "tags.`sr.exit`",
    ]  # fmt: skip
    many = decode(extend_view(None, [f"test/set{k} x2 edsr/psnr" for k in range(20)], ()))
    assert sum(column.startswith("metrics.") for column in many["selectedColumns"]) == 8


def test_a_view_of_an_older_sr_gets_its_columns() -> None:
    view = json.loads(extend_view(None, METRICS, IMAGES) or "")
    state = _decompress(view["state"])
    del state["selectedColumns"]
    assert decode(extend_view(json.dumps(view | {"state": json.dumps(state)}), METRICS, IMAGES))["selectedColumns"]


def test_the_view_grows_with_the_runs_of_the_experiment() -> None:
    first = extend_view(None, METRICS, IMAGES)
    assert extend_view(first, METRICS, IMAGES) is None
    assert extend_view(first, METRICS[:2], ()) is None
    second = extend_view(first, ["train/loss", "val/Set14 x4 edsr/psnr"], ["val/Set14 x4 edsr/ppt3"])
    together = extend_view(
        None, [*METRICS, "train/loss", "val/Set14 x4 edsr/psnr"], [*IMAGES, "val/Set14 x4 edsr/ppt3"]
    )
    assert decode(second) == decode(together)


def test_a_view_that_the_user_has_changed_stays() -> None:
    view = json.loads(extend_view(None, METRICS, IMAGES) or "")
    assert extend_view(json.dumps(view | {"updatedAt": view["createdAt"] + 1}), ["train/loss"], ()) is None


@pytest.mark.parametrize(
    "tag", ["", "{", "[]", "{}", '{"createdAt": 1, "state": "deflate;x"}', '{"createdAt": 1, "state": "{}"}']
)
def test_a_damaged_view_holds_nothing_up(tag: str) -> None:
    assert extend_view(tag, ["train/loss"], ()) is None or tag == ""


@pytest.mark.slow(1)
def test_a_view_is_no_longer_than_a_tag() -> None:
    tag = None
    for k in range(400):
        tag = extend_view(tag, [], [f"{SET}/image {k * k * 7919 % 1000003}"]) or tag
    assert tag is not None
    assert MAX_TAG_LENGTH // 2 < len(tag) <= MAX_TAG_LENGTH


@pytest.mark.usefixtures("sender_thread")
def test_a_run_leaves_the_view_and_its_address_opens_it(tmp_path: Any) -> None:
    tracker = MLflow(None, str(tmp_path), "test")
    folder = tmp_path / "run"
    folder.mkdir()
    tracker.start("a run", folder, {}, [], {})
    tracker.log_points({f"{SET}/psnr": 30.0, "train/loss": 1.0}, 1)
    tracker.log_image(f"{SET}/baby", Image.new("RGB", (8, 8)), 1)
    tracker.close("FINISHED")
    client = MlflowClient(tracker.uri)
    experiment = client.get_experiment_by_name("test")
    charts = decode(experiment.tags[TAG])["compareRunCharts"]
    assert [chart["displayName"] for chart in charts] == [f"{SET}/psnr", "train/loss", f"{SET}/baby"]
    assert str(tracker.view_command).endswith(f"viewStateShareKey={TAG.rpartition('.')[2]}")
