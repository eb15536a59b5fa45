"""compare.html: what the page of a comparison holds, its curves and its charts."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import make_training

from sr.comparison.charts import draw_costs, draw_group_curves, draw_perception
from sr.comparison.collect import RunCollector
from sr.comparison.comparing import make_comparison
from sr.comparison.page import make_cell, write_page
from sr.comparison.run import Group, Measure, RunComparison, Table, TableCell, TableRow
from sr.page.curves import CurveGroup, CurvePoint, draw_curves, join_curves
from sr.record.journal_format import encode_entry
from sr.track.address import default_uri
from sr.track.curves import count_images_per_step, read_curves

PSNR = "psnr, Set5 x2 edsr"
IMAGES = [f"image{k}" for k in range(8)]


def write_journal(folder: Path, *entries: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    opening = {"open": {"id": "x", "title": "x", "experiment": "sr", "tags": {}, "params": {}}, "time": 1_000_000}
    (folder / "journal.jsonl").write_bytes(b"".join(map(encode_entry, (opening, *entries))))


def make_points(step: int, seconds: float, **values: float) -> dict[str, Any]:
    points = {f"val/Set5 x2 edsr/{name}": value for name, value in values.items()}
    return {"points": points, "step": step, "time": 1_000_000 + round(1000 * seconds)}


def test_curves_leave_out_pauses_and_steps_that_were_repeated(tmp_path: Path) -> None:
    write_journal(
        tmp_path,
        make_points(10, 5, psnr=20.0, psnr_raw=19.0, psnr_bicubic=25.0),
        {"points": {"train/loss": 0.1}, "step": 11, "time": 1_006_000},
        make_points(20, 10, psnr=99.0),  # made void by `back`
        {"again": 2, "time": 1_000_000 + 3_600_000},  # an hour later
        {"back": 10},
        make_points(20, 3605, psnr=21.0),
    )
    curves = read_curves(tmp_path)
    assert (list(curves.points), curves.bicubic) == ([PSNR], {PSNR: 25.0})
    assert [point[::2] for point in curves.points[PSNR]] == [(10, 20.0), (20, 21.0)]
    assert [point.seconds for point in curves.points[PSNR]] == [
        5.0,
        10.0,
    ]  # without the pause and the work that was lost


def test_a_run_without_a_journal_or_with_a_damaged_one_has_no_curves(tmp_path: Path) -> None:
    assert read_curves(tmp_path).points == {}
    (tmp_path / "journal.jsonl").write_bytes(b"nonsense\n")
    assert read_curves(tmp_path).points == {}


def test_losses_are_read_if_asked_for_and_thinned_out_by_means(tmp_path: Path) -> None:
    losses = [
        {"points": {"train/loss": float(k % 2), "train/lr": 0.1}, "step": k, "time": 1_000_000} for k in range(600)
    ]
    write_journal(tmp_path, *losses, make_points(600, 5, psnr=20.0, ssim=0.5))
    assert list(read_curves(tmp_path).points) == [PSNR, "ssim, Set5 x2 edsr"]
    points = read_curves(tmp_path, with_losses=True).points
    assert list(points) == [PSNR, "ssim, Set5 x2 edsr", "train/loss"]
    assert len(points["train/loss"]) == 300
    assert {point.value for point in points["train/loss"]} == {0.5}


def test_seeds_are_joined_to_their_mean_and_range() -> None:
    short = [CurvePoint(10, 2.0, 30.0)]
    long = [CurvePoint(10, 4.0, 31.0), CurvePoint(20, 8.0, 32.0)]
    joined = join_curves([short, long], images_per_step=16)
    assert (joined.steps, joined.images) == ([10, 20], [160, 320])
    assert (joined.seconds, joined.means) == ([3.0, 8.0], [30.5, 32.0])
    assert (joined.lows, joined.highs) == ([30.0, 32.0], [31.0, 32.0])


def test_images_of_a_step_are_those_of_all_batches() -> None:
    assert count_images_per_step({"data.batch": 16, "trainer.accumulate_grad_batches": 4}) == 64
    assert count_images_per_step({}) == 1


def test_curves_of_groups_have_a_band_and_three_axes(tmp_path: Path) -> None:
    runs = []
    for seed, value in enumerate((30.0, 31.0)):
        make_training(tmp_path, f"espcn-{seed}", {"Set5": {"baby": value}}, seed=seed)
        write_journal(tmp_path / f"espcn-{seed}", make_points(10, 5, psnr=value, psnr_bicubic=28.0, ssim=0.9))
        runs.append(make_comparison_of(tmp_path, [f"espcn-{seed}"]).groups[0].runs[0])
    figure = draw_group_curves([Group(name="espcn", runs=runs)])
    visible = [(trace.name, list(trace.y)) for trace in figure.data if trace.visible]
    assert visible == [(None, [31.0, 30.0]), ("espcn", [30.5]), ("bicubic", [28.0, 28.0])]
    assert figure.layout.yaxis.title.text == "psnr, Set5 x2 edsr"
    choices = [[button.label for button in menu.buttons] for menu in figure.layout.updatemenus]
    assert choices == [["psnr, Set5 x2 edsr", "ssim, Set5 x2 edsr"], ["steps", "seconds", "images seen"]]
    seconds = figure.layout.updatemenus[1].buttons[1].args[0]["x"]
    assert [list(x) for x in seconds[:3]] == [[5.0, 5.0], [5.0], [0, 5.0]]
    assert draw_group_curves([Group(name="espcn", runs=[])]) is None


def test_an_untrained_net_does_not_hide_the_differences_between_trained_ones() -> None:
    """PSNR is 7 dB at step 0 and 30 to 32 dB later: the axis shows bicubic's 29 dB, and 5 % of 3 dB around it all."""

    def draw(*values: float) -> list[float]:
        points = [CurvePoint(10 * k, float(k), value) for k, value in enumerate(values)]
        figure = draw_curves([CurveGroup("a", {"psnr": join_curves([points], 16)}, {"psnr": 29.0})])
        return list(figure.layout.yaxis.range)

    assert draw(7.0, 30.0, 32.0) == pytest.approx([28.85, 32.15])
    assert draw(28.0, 30.0, 32.0) == pytest.approx([27.8, 32.2])
    assert draw(7.0, math.inf) == pytest.approx([5.9, 30.1])
    assert draw(29.0) == pytest.approx([28.0, 30.0])


def make_table(**costs: Any) -> Table:
    cells = {"psnr": TableCell(30.0, 0.1), "lpips": TableCell(0.2)}
    rows = [TableRow(name="espcn", cells=cells, group=Group(name="espcn", runs=[]), **costs)]
    measures = [Measure("psnr", "PSNR", 2, "higher", "dB"), Measure("lpips", "LPIPS", 4, "lower")]
    return Table(set="Set5", scale=2, protocol={}, images=[], digest=None, measures=measures, rows=rows,
                 reference="bicubic", title="Set5 ×2")  # fmt: skip


def test_costs_and_perception_are_drawn_if_they_were_measured() -> None:
    group = Group(name="espcn", runs=[])
    assert draw_costs([make_table()], [group]) is None
    figure = draw_costs([make_table(parameters=27_000, ms_per_image=4.0)], [group])
    assert (figure.data[0].x, figure.data[0].y) == ((27_000,), (30.0,))
    assert figure.data[0].error_y.array == (0.1,)
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == ["parameters", "ms per image"]
    figure = draw_perception([make_table()], [group])
    assert (figure.data[0].x, figure.data[0].y) == ((30.0,), (0.2,))
    assert figure.layout.yaxis.autorange == "reversed"  # a lower LPIPS is better, and stands higher
    table = make_table()
    del table.rows[0].cells["lpips"]
    assert draw_perception([table], [group]) is None


@pytest.mark.parametrize(("text", "sort"), [("28.31 ± 0.02", 28.31), ("−0.05", -0.05), ("27.0 K", 27_000.0),
                                            ("1.37 M", 1_370_000.0), ("–", None), ("espcn l1", "espcn l1"),
                                            ("1,234", 1234.0)])  # fmt: skip
def test_cells_sort_by_their_numbers(text: str, sort: float | str | None) -> None:
    cell = make_cell(text)
    assert cell.text == text
    assert cell.sort == (pytest.approx(sort) if isinstance(sort, float) else sort)


def make_comparison_of(runs: Path, names: list[str]) -> RunComparison:
    collector = RunCollector(runs, default_uri(runs), runs / "temporary")
    config = {"runs": [str(runs / name) for name in names], "filter": None, "reference": None, "columns": None,
              "power": None}  # fmt: skip
    return make_comparison(collector, config, [])


def test_the_page_has_tables_verdicts_options_and_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for k, loss in enumerate(("l1", "<mse>", "charbonnier", "fft")):
        values = {"Set5": {name: 30.0 + k + 0.1 * i * (k + 1) for i, name in enumerate(IMAGES)}}
        make_training(tmp_path, f"run-{k}", values, loss=loss)
    make_training(tmp_path, "untested", {})
    comparison = make_comparison_of(tmp_path, ["run-0", "run-1", "run-2", "run-3", "untested"])
    pair = comparison.tables[0].pairs[0]
    pair.power, pair.result = "a difference of 0.05 dB is found", replace(pair.result, p_corrected=0.0004)
    page = write_page(comparison, tmp_path, images=0, footer={"command": "sr.compare runs"}).read_text()
    assert [re.sub(r"<.*?>", "", title) for title in re.findall(r"<h2.*?</h2>", page)] == ["Results", "Left out"]
    assert "&lt;mse&gt;" in page and "<mse>" not in page
    text = re.sub(r"<[^>]*>|\s+", " ", page)
    assert re.search(r"fft +– +33\.\d\d|fft +1 +34\.40", text), text[:3000]
    assert re.search(r"charbonnier against &lt;mse&gt; +better by", text)
    assert "untested" in text and "it has no test results" in text
    assert re.search(r"not of two methods\. A difference of 0\.05 dB is found .*? &lt; 0\.001 ", text)
    assert page.count('class="diagram"') == 1  # of four groups
    assert "sr.compare runs" in page
    assert capsys.readouterr().err == ""


def test_images_that_cannot_be_made_are_a_note_and_the_page_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    make_training(tmp_path, "run", {"Set5": dict.fromkeys(IMAGES, 30.0)})
    comparison = make_comparison_of(tmp_path, ["run"])
    page = write_page(comparison, tmp_path).read_text()
    assert "No images of results can be shown." in page and "Set5 ×2" in page
    assert "note: compare.html: Set5 ×2" in capsys.readouterr().err
    assert math.isfinite(comparison.tables[0].rows[0].cells["psnr"].mean)
