"""The images of compare.html are those that were measured: of trainings, evaluations and other programs."""

import base64
import html
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sr.record.result import read_image_results

pytestmark = pytest.mark.slow
OPTIONS = ("data=folder", "data.patch=16", "data.batch=2", "data.workers=0", "data.repeat=1", "track=journal", "progress=false",
           "trainer.accelerator=cpu", "trainer.max_steps=4", "trainer.val_check_interval=2", "data.test=[Set5]")  # fmt: skip


def read_data(page: Path) -> dict[str, Any]:
    """Return what the page's viewer shows."""
    text = page.read_text(encoding="utf-8")
    return json.loads(html.unescape(re.search(r"<script[^>]*data-viewer-data>(.*?)</script>", text, re.DOTALL)[1]))


def decode(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))).astype(float)


def measure_luma_psnr(image: np.ndarray, reference: np.ndarray, border: int) -> float:
    """Return PSNR on BT.601 luma without the border, as the protocol `edsr` has it."""
    error = ((image - reference) @ np.array([65.481, 128.553, 24.966]) / 255)[border:-border, border:-border]
    return 10 * np.log10(255**2 / (error**2).mean())


def test_pixels_have_the_psnr_that_the_runs_have_stored(
    sr: Any, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SR_DATA", raising=False)  # which has another Set5
    words = (*OPTIONS, f"paths.data={world}", f"data.path={world}/photos")
    for loss in ("l1", "mse"):
        assert sr("run", *words, "model/net=espcn", f"model/loss={loss}").code == 0
    l1, mse = sorted((tmp_path / "runs").iterdir())
    stored = read_image_results(l1 / "per_image.json")["test/Set5"].images

    # Result images of another program, which are HR with an error of 16 levels.
    (tmp_path / "other").mkdir()
    for file in (world / "Set5" / "HR").iterdir():
        pixels = np.asarray(Image.open(file).convert("RGB"))
        Image.fromarray(np.where(pixels < 128, pixels + 16, pixels - 16).astype(np.uint8)).save(
            tmp_path / "other" / file.name
        )
    evaluated = sr("evaluate", "images=other", "scale=2", f"paths.data={world}", "data.test=[Set5]", "track=journal",
                   "progress=false", "metric/also=[]")  # fmt: skip
    assert evaluated.code == 0, evaluated.err

    answer = sr("compare", "runs", "track=none", "images=3", "output=out", "progress=false")
    assert (answer.code, answer.err) == (0, "")
    data = read_data(tmp_path / "out" / "compare.html")
    (of_set,) = data["sets"]
    labels = {key: source["label"] for key, source in data["sources"].items()}
    assert sorted(labels.values()) == ["HR", "LR", "bicubic", "l1", "mse", "other"]
    assert (of_set["measure"], of_set["border"], len(of_set["scenes"])) == ("luma", 2, 3)
    keys = {label: key for key, label in labels.items()}
    for scene in of_set["scenes"]:
        name, images = scene["name"], {key: decode(address) for key, address in scene["images"].items()}
        file = np.asarray(Image.open(world / "Set5" / "HR" / f"{name}.png").convert("RGB"))
        assert (images["hr"] == file).all()
        assert images["lr"].shape == (24, 28, 3)
        values = of_set["values"][name]
        for key in (keys["l1"], keys["mse"], keys["other"], "bicubic"):
            assert measure_luma_psnr(images[key], images["hr"], 2) == pytest.approx(values[key]["psnr"], abs=1e-6)
        assert values[keys["l1"]]["psnr"] == stored[name]["psnr"]
        assert values["bicubic"]["psnr"] == stored[name]["bicubic_psnr"]
        assert (abs(images[keys["other"]] - images["hr"]) == 16).all()

    # Every image in a page of its own.
    answer = sr("compare", "runs", "track=none", "images=all", "output=all", "progress=false")
    assert (answer.code, answer.err) == (0, "")
    pages = sorted((tmp_path / "all" / "compare_images").iterdir())
    assert [page.name for page in pages] == [f"Set5_2_protocol_edsr_s{k}.html" for k in range(4)]
    links = re.findall(r'href="(compare_images/[^"]*)"', (tmp_path / "all" / "compare.html").read_text())
    assert sorted(links) == [f"compare_images/{page.name}" for page in pages]
    assert [scene["name"] for scene in read_data(pages[2])["sets"][0]["scenes"]] == ["s2"]

    # Image sets that were elsewhere when the runs were made.
    configs = {file: file.read_text() for file in (tmp_path / "runs").glob("*/config.yaml")}
    for file, text in configs.items():
        file.write_text(text.replace(f"root: {world}", "root: /nowhere"))
    answer = sr("compare", "runs", "track=none", "images=1", "output=moved", "progress=false", f"paths.data={world}")
    assert (answer.code, answer.err) == (0, "")
    assert len(read_data(tmp_path / "moved" / "compare.html")["sets"][0]["scenes"]) == 1
    answer = sr("compare", "runs", "track=none", "images=1", "output=nowhere", "progress=false")
    assert answer.code == 0 and "paths.data=FOLDER" in answer.err
    assert "No images of results" in (tmp_path / "nowhere" / "compare.html").read_text()
    for file, text in configs.items():
        file.write_text(text)

    # Weights that are no longer those that were measured, and weights that are no longer there.
    shutil.copy(l1 / "best.ckpt", mse / "best.ckpt")
    answer = sr("compare", "runs", "track=none", "output=changed", "progress=false")
    assert answer.code == 0
    assert re.search(
        r"note: compare.html: .*espcn-mse.*: s\d has \d+\.\d\d dB here, but \d+\.\d\d dB was measured", answer.err
    )
    (mse / "best.ckpt").unlink()
    answer = sr("compare", "runs", "track=none", "output=missing", "progress=false")
    assert answer.code == 0
    shown = read_data(tmp_path / "missing" / "compare.html")["sets"][0]["sources"]
    assert sorted(labels[key] for key in shown) == ["HR", "LR", "bicubic", "l1", "other"]
    assert "mse: its images are left out: there is no checkpoint" in answer.err.replace("\n", " ")
