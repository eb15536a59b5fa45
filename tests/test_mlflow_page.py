"""MLflow's own page in a browser: what two runs differ in is seen in the list, in the charts and in the comparison."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import TIMEOUT, launch_browser, needs_browser
from mlflow import MlflowClient

from sr.record.run_name import VISIBLE_LENGTH
from sr.track.local_server import LocalServer

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("sender_thread"),
    needs_browser,
]
WIDTH, HEIGHT = 1366, 5000  # of a laptop, and so high that no chart waits until it is scrolled to
OPTIONS = ("data=folder", "data.patch=32", "data.batch=2", "trainer.accelerator=cpu", "trainer.val_check_interval=2")
GAN = ("model=gan", "model.net.width=8", "model.net.blocks=1", "model.discriminator.width=4", "model.warmup_steps=1")


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as one:
        yield one


@pytest.fixture
def page() -> Iterator[Any]:
    with launch_browser() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(TIMEOUT)
        yield page


def test_the_page_shows_what_two_runs_differ_in(sr: Any, world: Path, server: Any, page: Any) -> None:
    """The first choice is the default, and is not typed. The second run is longer."""
    key, choices, losses = "model.adversarial", ["vanilla", "hinge"], ["train/loss_g", "train/loss_d"]
    where = (f"data.path={world}/photos", f"track.uri={server.uri}", f"track.experiment={key}")
    first = sr("run", *OPTIONS, *GAN, *where, "trainer.max_steps=4")
    second = sr("run", *OPTIONS, *GAN, *where, "trainer.max_steps=6", f"{key.replace('.', '/')}={choices[1]}")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name(key)
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    names = [run.info.run_name for run in runs]
    assert names[0][:VISIBLE_LENGTH] != names[1][:VISIBLE_LENGTH]

    # The charts, at the address that a run prints: PSNR and losses, then images; each curve with the name of its run.
    (address,) = re.findall(rf"{server.uri}/#/\S+", second.out)
    text = open_page(page, address, lambda text: text.count(losses[-1]) > 2)
    psnr = "val/folder x2 edsr/psnr"
    assert list_sections(text)[:3] == ["PSNR and loss", "images", "val/folder x2 edsr"]
    assert [text.index(f"\n{chart}\n") for chart in (psnr, *losses)] == sorted(
        text.index(f"\n{chart}\n") for chart in (psnr, *losses)
    )
    assert all(f"{name} ({psnr})" in text for name in names)

    # Images at the first position of the slider, without the parameters of their runs.
    artifacts = [Path(item.path).name for item in client.list_artifacts(runs[0].info.run_id, "images")]
    count = 2 * len({name.partition("+")[0] for name in artifacts})
    assert count >= 4
    text = wait_for_images(page, address, count)
    assert "No image logged at this step" not in text
    assert f"{key}=" not in text

    # The same page as it opens by itself, and the list of runs.
    plain = f"{server.uri}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    text = open_page(page, f"{plain}&compareRunsMode=CHART", lambda text: len(list_sections(text)) > 3)
    assert not any(section.startswith("best") for section in list_sections(text))
    text = open_page(page, plain, lambda text: "Created" in text and names[0][:10] in text)
    assert all(name[:VISIBLE_LENGTH] in text for name in names)
    columns = ["test/folder x2 edsr/psnr", f"{psnr}_best", psnr, "Duration", key]
    open_page(page, f"{plain}&viewStateShareKey=sr", lambda text: set(columns) <= set(text.splitlines()))

    # The comparison: the table of parameters that differ.
    ids = quote(json.dumps([run.info.run_id for run in runs]))
    compared = f"{server.uri}/#/compare-runs?runs={ids}&experiments={quote(json.dumps([experiment.experiment_id]))}"
    text = open_page(page, compared, lambda text: "Show diff only" in text and names[1] in text)
    assert re.search(rf"^{re.escape(key)}\s+{choices[0]}\s+{choices[1]}$", text, re.MULTILINE)


def open_page(page: Any, address: str, is_ready: Any) -> str:
    """Return the text of a page once it is complete."""
    page.goto("about:blank")
    page.goto(address)
    for _ in range(TIMEOUT // 1000):
        text = page.inner_text("body")
        if is_ready(text):
            return text
        page.wait_for_timeout(1000)
    raise AssertionError(f"{address} is not complete:\n{text}")


def wait_for_images(page: Any, address: str, count: int) -> str:
    """Return the text of a page once it shows `count` artifacts; load it again if not: MLflow's page asks for each once."""
    shown = "[...document.images].filter(image => image.src.includes('artifact') && image.naturalWidth > 200).length"
    for _ in range(3):
        for _ in range(TIMEOUT // 1000):
            if page.evaluate(shown) >= count:
                return str(page.inner_text("body"))
            page.wait_for_timeout(1000)
        page.goto("about:blank")
        page.goto(address)
    raise AssertionError(f"{address} shows {page.evaluate(shown)} images of {count}:\n{page.inner_text('body')}")


def list_sections(text: str) -> list[str]:
    """Return the sections of charts in their order."""
    return re.findall(r"^(.+)\n\(\d+\)$", text, re.MULTILINE)
