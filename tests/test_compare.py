"""sr.compare: which runs are one group, what shares a table, and what the tables say."""

import csv
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import describe_protocol, make_evaluation, make_training

from sr.comparison.collect import RunCollector
from sr.comparison.comparing import make_comparison
from sr.comparison.data import format_json
from sr.comparison.latex import format_latex
from sr.comparison.measure import KNOWN
from sr.comparison.run import RunComparison
from sr.comparison.text import format_terminal
from sr.config.schema import find_conf_dir
from sr.evaluation.published import find_model
from sr.runtime.error import UserError
from sr.track.address import default_uri

IMAGES = ("baby", "bird", "butterfly", "head", "woman")


def score(*psnrs: float, names: tuple[str, ...] = IMAGES) -> dict[str, dict[str, float]]:
    return {"Set5": dict(zip(names, psnrs, strict=True))}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def compare(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`compare(["runs"], reference="espcn")` compares without the command line; gives what is printed, and compare.json."""
    monkeypatch.chdir(runs.parent)

    def make(words: Sequence[str] = ("runs",), condition: str | None = None, **options: Any) -> RunComparison:
        config = {"runs": words, "filter": condition, "reference": None, "columns": None, "power": None} | options
        collector = RunCollector(runs, default_uri(runs), runs / "temporary")
        published = [find_model(model) for model in options.get("published", ())]
        return make_comparison(collector, config, published)

    def call(*args: Any, **options: Any) -> Any:
        comparison = make(*args, **options)
        return format_terminal(comparison), json.loads(format_json(comparison))

    call.latex = lambda **options: format_latex(make(**options))
    return call


def find_row(content: Any, name: str, table: int = 0) -> Any:
    return next(row for row in content["tables"][table]["rows"] if row["name"] == name)


def study(runs: Path) -> None:
    """Two nets × three seeds: means of 30.0, 30.2, 30.4 and of 31, 31, 31.3 dB."""
    for seed, (espcn, fsrcnn) in enumerate([(30.0, 31.0), (30.2, 31.0), (30.4, 31.3)]):
        make_training(runs, f"1-espcn-{seed}", score(*[espcn + k for k in (-2, -1, 0, 1, 2)]), seed=seed)
        make_training(
            runs, f"2-fsrcnn-{seed}", score(*[fsrcnn + k for k in (-2, -1, 0, 1, 2)]), net="fsrcnn", seed=seed
        )


def test_seeds_are_one_group_with_mean_and_deviation(runs: Path, compare: Any) -> None:
    study(runs)
    out, content = compare()
    assert [(group["name"], [run["seed"] for run in group["runs"]]) for group in content["groups"]] == [
        ("espcn", [0, 1, 2]), ("fsrcnn", [0, 1, 2])]  # fmt: skip
    espcn, fsrcnn = find_row(content, "espcn"), find_row(content, "fsrcnn")
    assert espcn["metrics"]["psnr"]["mean"] == pytest.approx(30.2)
    assert espcn["metrics"]["psnr"]["deviation"] == pytest.approx(0.2)
    assert fsrcnn["metrics"]["psnr"]["mean"] == pytest.approx(31.1)
    assert fsrcnn["metrics"]["psnr"]["deviation"] == pytest.approx(0.1732, abs=1e-4)
    assert fsrcnn["metrics"]["psnr"]["difference"] == pytest.approx(3.1)
    assert re.search(r"espcn +3 +30\.20 ± 0\.20 +\+2\.20", out)
    assert re.search(r"espcn +3 +0, 1, 2 +espcn", out)  # the table of options
    assert "model.net.espcn_width" not in out  # it follows from the choice of the net


@pytest.mark.parametrize(("options", "name"), [
    ({"model.optimizer.lr": 0.002}, "lr=0.002"),
    ({"model.optimizer.lr": 0.0013385298778232698}, "lr=0.001339"),
    ({"model.optimizer.lr": 5.385298778232698e-05}, "lr=5.385e-05"),
    ({"data.patch": 48}, "patch=48"),
    ({"trainer.max_steps": 900, "model.optimizer.lr": 0.1}, "lr=0.1 max_steps=900"),
])  # fmt: skip
def test_a_group_is_named_by_what_differs(runs: Path, compare: Any, options: dict[str, Any], name: str) -> None:
    make_training(runs, "a", score(1, 2, 3, 4, 5))
    make_training(runs, "b", score(1, 2, 3, 4, 6), options=options)
    _, content = compare()
    assert content["groups"][1]["name"] == name
    assert set(content["options"]) == set(options)


@pytest.mark.parametrize("options", [
    {"paths.runs": "/elsewhere"}, {"track.experiment": "other"}, {"data.workers": 4}, {"data.test": ["Set14"]},
    {"trainer.accelerator": "gpu"}, {"model.alarm.collapse.contrast": 0.5}, {"resume": "x"}, {"metric.also.ms_ssim": {}},
    {"data.seed": 7}, {"perf": "auto", "trainer.channels_last": False, "trainer.compile": True}, {"cost": ["ntire_score"]},
])  # fmt: skip
def test_options_that_change_no_result_split_no_group(runs: Path, compare: Any, options: dict[str, Any]) -> None:
    make_training(runs, "a", score(1, 2, 3, 4, 5))
    make_training(runs, "b", score(1, 2, 3, 4, 6), seed=1, options=options)
    _, content = compare()
    assert [len(group["runs"]) for group in content["groups"]] == [2]


def test_the_same_seed_twice_is_no_second_sample(runs: Path, compare: Any) -> None:
    make_training(runs, "a", score(1, 2, 3, 4, 5))
    make_training(runs, "b", score(2, 3, 4, 5, 6))
    out, content = compare(["runs", "runs"])
    assert find_row(content, "espcn l1")["runs"] == 1
    assert find_row(content, "espcn l1")["metrics"]["psnr"]["mean"] == 4
    assert "a and b have the same options and seed=0" in out


def test_the_same_run_twice_counts_once(runs: Path, compare: Any) -> None:
    folder = make_training(runs, "a", score(1, 2, 3, 4, 5))
    out, content = compare([str(folder), "runs", "runs/a"])
    assert [len(group["runs"]) for group in content["groups"]] == [1]
    assert "one group" in out


def test_training_and_evaluation_of_its_checkpoint_are_one_run(runs: Path, compare: Any) -> None:
    for seed in (0, 1):
        folder = make_training(runs, f"1-{seed}", score(30, 31, 32, 33, 34), seed=seed)
        values = score(30, 31, 32, 33, 34) | {"Set14": {"comic": 25.0 + seed, "zebra": 26.0 + seed}}
        make_evaluation(runs, f"2-{seed}", values, checkpoint=folder / "best.ckpt", ms=10.0 + 2 * seed)
    _, content = compare()
    assert [len(group["runs"]) for group in content["groups"]] == [2]
    assert [(table["set"], find_row(content, "espcn l1", k)["runs"]) for k, table in enumerate(content["tables"])] == [
        ("Set5", 2), ("Set14", 2)]  # fmt: skip
    row = find_row(content, "espcn l1", 1)
    assert (row["parameters"], row["multiply_adds"], row["ms_per_image"]) == (26796, 6_148_915_200, 11.0)
    assert row["metrics"]["psnr"]["mean"] == 26.0


def test_ntire_score_is_a_column(runs: Path, compare: Any) -> None:
    folder = make_training(runs, "a", score(30, 31, 32, 33, 34))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"ntire_score": 5.25}))
    make_training(runs, "b", score(30, 31, 32, 33, 35), net="edsr")
    out, content = compare()
    assert find_row(content, "espcn")["ntire_score"] == 5.25
    assert " NTIRE " in out or "NTIRE\n" in out


def test_result_images_of_another_program_are_a_row(runs: Path, compare: Any) -> None:
    make_training(runs, "a", score(30, 31, 32, 33, 34))
    make_evaluation(runs, "b", score(30, 31, 32, 33, 35), images="/results/waifu2x")
    _, content = compare()
    assert find_row(content, "waifu2x")["metrics"]["psnr"]["mean"] == 32.2
    assert find_row(content, "espcn l1")["metrics"]["psnr"]["mean"] == 32.0


@pytest.mark.parametrize(("protocol", "key"), [
    (describe_protocol(name="vdsr"), "protocol"),
    (describe_protocol(lr="BSR(scale=2)"), "lr"),
    (describe_protocol(scale=3), "×3"),
])  # fmt: skip
def test_another_protocol_has_a_table_of_its_own(runs: Path, compare: Any, protocol: dict[str, Any], key: str) -> None:
    make_training(runs, "a", score(30, 31, 32, 33, 34))
    make_training(runs, "b", score(30, 31, 32, 33, 34), net="fsrcnn", protocol=protocol)
    out, content = compare()
    assert [[row["name"] for row in table["rows"] if row["kind"] == "group"] for table in content["tables"]] == [
        ["espcn"], ["fsrcnn"]]  # fmt: skip
    assert key in out
    if key != "×3":
        assert f"Set5 ×2: tables of their own, for {key} differs" in out


def test_an_image_that_was_changed_by_a_byte_is_named(runs: Path, compare: Any) -> None:
    make_training(runs, "a", score(30, 31, 32, 33, 34))
    make_training(runs, "b", score(30, 31, 32, 33, 34), net="fsrcnn", content={"bird": "another byte"})
    out, content = compare()
    assert len(content["tables"]) == 2
    assert "bird differs in content between a and b" in out


def test_a_missing_image_is_named_and_all_means_are_over_the_shared_ones(runs: Path, compare: Any) -> None:
    make_training(runs, "a", score(30, 31, 32, 33, 40))
    make_training(runs, "b", score(31, 32, 33, 34, names=IMAGES[:4]), net="fsrcnn")
    out, content = compare(published=["IMDN"])
    assert [table["images"] for table in content["tables"]] == [list(IMAGES[:4])]
    assert find_row(content, "espcn")["metrics"]["psnr"]["mean"] == 31.5
    assert "woman is missing in b: all values are means over the 4 of 5 images that every run has" in out
    assert "the published values of IMDN" in out
    assert "(4 images" in out


def test_published_rows_stand_beside(runs: Path, compare: Any) -> None:
    make_training(runs, "a", score(37, 37, 37, 37, 37))
    _, content = compare(published=["imdn"])
    row = find_row(content, "IMDN")
    assert (row["kind"], row["metrics"]["psnr"]["mean"], row["metrics"]["ssim"]["mean"]) == ("published", 38.00, 0.9605)


def test_the_reference_may_be_a_run_or_a_group(runs: Path, compare: Any) -> None:
    study(runs)
    for reference in ("espcn", "runs/1-espcn-1"):
        _, content = compare(reference=reference)
        assert content["tables"][0]["reference"] == "espcn"
        assert find_row(content, "fsrcnn")["metrics"]["psnr"]["difference"] == pytest.approx(0.9)
        assert find_row(content, "bicubic")["metrics"]["psnr"]["difference"] == pytest.approx(-2.2)
        assert find_row(content, "espcn")["metrics"]["psnr"]["difference"] is None


def test_bicubic_may_be_named_as_the_reference(runs: Path, compare: Any) -> None:
    study(runs)
    _, content = compare(reference="bicubic")
    assert content["tables"][0]["reference"] == "bicubic"
    assert find_row(content, "espcn")["metrics"]["psnr"]["difference"] == pytest.approx(2.2)


def test_a_reference_need_not_be_named_twice(runs: Path, compare: Any) -> None:
    study(runs)
    _, content = compare(["runs/1-espcn-0", "runs/1-espcn-1"], reference="runs/2-fsrcnn-0")
    assert content["tables"][0]["reference"] == "fsrcnn"
    assert find_row(content, "espcn")["metrics"]["psnr"]["difference"] == pytest.approx(-0.9)


def test_runs_without_results_are_listed_with_the_reason(runs: Path, compare: Any) -> None:
    make_training(runs, "1-good", score(30, 31, 32, 33, 34))
    make_training(runs, "2-untested", {}, net="fsrcnn")
    make_training(runs, "3-failed", {}, net="fsrcnn", status="FAILED", exit="NaN or explosion")
    make_training(runs, "4-damaged", score(30, 31, 32, 33, 34), net="fsrcnn")
    (runs / "4-damaged" / "per_image.json").write_text("{")
    make_training(runs, "5-cut", score(30, 31, 32, 33, 34), net="fsrcnn")
    (runs / "5-cut" / "config.yaml").write_text("model: {")
    out, content = compare()
    reasons = {run["name"]: run["reason"] for run in content["skipped"]}
    assert reasons.keys() == {"2-untested", "3-failed", "4-damaged", "5-cut"}
    assert "evaluate it: python -m sr.evaluate" in reasons["2-untested"]
    assert "ended as FAILED (NaN or explosion)" in reasons["3-failed"]
    assert "per_image.json" in reasons["4-damaged"]
    assert "config.yaml" in reasons["5-cut"]
    assert all(name in out.partition("Left out:")[2] for name in reasons)
    assert [group["name"] for group in content["groups"]] == ["espcn l1"]


@pytest.mark.parametrize(("words", "options", "message"), [
    (["nowhere"], {}, "runs=nowhere: expected a run's folder"),
    (["runs/espcm"], {}, 'Did you mean "espcn"?'),
    (["sweep:loss"], {}, "runs=sweep:loss: expected the name of a sweep"),
    (["empty"], {}, "runs=empty: expected a run's folder or a folder of runs"),
    (["file.txt"], {}, "runs=file.txt: expected a run's folder"),
    (["damaged.json"], {}, "nothing can be compared"),
    (["runs"], {"reference": "espcm"}, "reference=espcm: expected a run, or one of the groups bicubic, espcn, fsrcnn. Did you"),
    (["runs"], {"columns": ["pnsr"]}, 'columns=[pnsr]: expected metrics of these runs, psnr, ssim. Did you mean "psnr"?'),
    (["runs"], {"published": ["IMDM"]}, "published=IMDM: expected one of"),
    (["experiment:sr"], {}, "runs=experiment:sr: there is no database"),
    (["runs"], {"condition": "tags.data = 'T91'"}, "filter=tags.data = 'T91': there is no database"),
])  # fmt: skip
def test_mistakes_are_explained(
    tmp_path: Path, runs: Path, compare: Any, words: list[str], options: dict[str, Any], message: str
) -> None:
    for name in ("espcn", "fsrcnn"):
        make_training(runs, name, score(30, 31, 32, 33, 34), net=name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "damaged.json").write_text("{}")
    with pytest.raises(UserError, match=re.escape(message)):
        compare(words, **options)


@pytest.mark.parametrize(("words", "message"), [
    ((), "runs=[]: expected at least one run"),
    (("runs", "power=-1"), "power=-1: expected"),
    (("runs", "runs=[runs]"), "expected the runs once"),
    (("runs", "output=file.txt/x"), "output=file.txt/x: expected a folder that can be written"),
    (("runs", "refernce=x"), "reference"),
])  # fmt: skip
def test_mistyped_options_are_explained(
    sr: Any, tmp_path: Path, runs: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "file.txt").write_text("")
    answer = sr("compare", "track=none", *words)
    assert answer.code == 2
    assert message in answer.err
    assert not list(runs.glob("*compare*"))


def test_evaluate_json_alone_is_enough(tmp_path: Path, runs: Path, compare: Any) -> None:
    folder = make_evaluation(runs, "a", score(30, 31, 32, 33, 34))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "evaluate.json").write_bytes((folder / "evaluate.json").read_bytes())
    _, content = compare(["theirs/evaluate.json", "runs/a/evaluate.json"])
    assert {row["name"] for row in content["tables"][0]["rows"]} == {"bicubic", "theirs", "ESPCN"}


def test_without_digests_another_image_is_found_by_its_bicubic_value(tmp_path: Path, runs: Path, compare: Any) -> None:
    make_training(runs, "a", score(30, 31, 32, 33, 34))
    values = {"Set5": {name: (30.0, 0.9, 28.0 + (name == "head"), 0.8) for name in IMAGES}}
    folder = make_evaluation(tmp_path, "b", values)
    (folder / "data.json").unlink()
    out, content = compare(["runs", str(folder)])
    assert "head differs in content between a and b" in out
    assert len(content["tables"]) == 2


def test_a_sweep_is_found_by_its_name(runs: Path, compare: Any) -> None:
    folder = make_training(runs, "1-a", score(30, 31, 32, 33, 34))
    (runs / "sweeps" / "loss").mkdir(parents=True)
    with (runs / "sweeps" / "loss" / "trials.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["trial", "seed", "psnr", "seconds", "state", "folder", "reason", "total"],
                                    ["1", "0", "30", "9", "complete", str(folder), "", "24"],
                                    ["2", "1", "–", "9", "fail", "", "out of memory", "24"]])  # fmt: skip
    out, content = compare(["sweep:loss"])
    assert [run["name"] for group in content["groups"] for run in group["runs"]] == ["1-a"]
    assert "trial 2 of loss: it has no run: out of memory" in out
    assert "22 of 24 trials of loss: they have not ended" in out


def test_on_too_few_images_all_pairs_share_one_line(runs: Path, compare: Any) -> None:
    """Three groups on five images: p of each pair is 1/16 at best, and one of three pairs needs seven: 3/64 < 0.05."""
    for k, net in enumerate(("espcn", "fsrcnn", "imdn")):
        make_training(runs, net, score(*[30 + k] * 5), net=net)
    out, content = compare(power=0.05)
    assert out.count("too few images") == 1
    assert "\n  all 3 pairs: too few images to tell on Set5 (n = 5): at least 2 more needed\n" in out
    assert "compare.json has what power= asks for" in out
    assert all("of 0.05 dB is found" in pair["power"] for pair in content["tables"][0]["pairs"])


def test_a_net_that_equals_bicubic_is_noted(runs: Path, compare: Any) -> None:
    """Bicubic has 28 dB here; the net of seed 1 has the same, as if its activations had died."""
    for seed, psnr in enumerate((31.0, 28.0)):
        make_training(runs, f"plain-{seed}", score(*[psnr] * 5), net="plain", seed=seed)
    notes = compare()[1]["tables"][0]["notes"]
    assert [note for note in notes if "bicubic" in note] == [
        "plain l1, seed 1: its PSNR equals that of bicubic; look at its curve, whether it has learned at all"]  # fmt: skip


def test_csv_says_what_is_printed(runs: Path, sr: Any) -> None:
    study(runs)
    answer = sr("compare", "runs", "track=none", "output=out")
    assert answer.code == 0, answer.err
    lines = list(csv.DictReader((runs.parent / "out" / "compare.csv").open(encoding="utf-8")))
    espcn = next(line for line in lines if line["method"] == "espcn")
    keys = ("set", "scale", "protocol", "runs", "seeds")
    assert [espcn[key] for key in keys] == ["Set5", "2", "edsr", "3", "0, 1, 2"]
    assert float(espcn["psnr"]) == pytest.approx(30.2)
    assert float(espcn["psnr_std"]) == pytest.approx(0.2)
    assert float(espcn["psnr_delta"]) == pytest.approx(2.2)
    names = {path.name for path in (runs.parent / "out").iterdir()}
    assert {"compare.csv", "compare_pairs.csv", "compare.md", "compare.tex", "compare.json"} <= names


def parse_latex(text: str) -> list[list[list[str]]]:
    """Return the cells of each tabular as plain text, without marks."""
    words = {r"\textbackslash{}": "\\", r"\pm": "±", r"\times": "×", r"\Delta": "Δ", r"\uparrow": "↑", r"\downarrow": "↓",
             r"\infty": "∞", r"\dots{}": "…", "--": "–", r"\_": "_", r"\&": "&", r"\%": "%", "$": ""}  # fmt: skip
    tables = []
    for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        rows = []
        for line in body.replace("\\midrule\n", "").strip().splitlines():
            assert line.endswith(r"\\")
            cells = re.split(r"(?<!\\) & ", line.removesuffix(r"\\").strip())
            cells = [re.sub(r"\\(?:textbf|underline)\{(.*)\}$", r"\1", cell) for cell in cells]
            for latex, plain in words.items():
                cells = [cell.replace(latex, plain) for cell in cells]
            rows.append(cells)
        tables.append(rows)
    return tables


def parse_printed(text: str) -> list[list[list[str]]]:
    """Return the cells of each table that begins with the column `method`."""
    tables = []
    for block in re.findall(r"^(method .*?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE):
        lines = [line for line in block.splitlines() if not line.startswith("─")]
        tables.append([re.split(r" {2,}", line.strip()) for line in lines])
    return tables


def test_latex_and_markdown_hold_the_printed_table(runs: Path, sr: Any) -> None:
    study(runs)
    make_training(runs, "3-odd", score(31, 31, 31, 31, 31), net="a_b", loss="x&y", options={"model.optimizer.lr": 0.5})
    make_evaluation(runs, "4", score(*[math.inf] * 5), images="/r/100%_#1")
    answer = sr("compare", "runs", "track=none", "output=out", "published=[EDSR]")
    latex = Path("out/compare.tex").read_text(encoding="utf-8")
    printed = parse_printed(answer.out)
    assert len(printed) == 1
    assert len(printed[0]) == 7
    assert [[[cell.replace(r"\#", "#") for cell in row] for row in table] for table in parse_latex(latex)] == printed
    depth = 0
    for line in latex.splitlines():  # braces are balanced, and nothing is left that LaTeX would take for its own
        assert line.startswith("%") or not re.search(r"(?<!\\)[#_^~]|[±×Δ↑∞–]", line), line
        depth += len(re.findall(r"(?<!\\)\{", line)) - len(re.findall(r"(?<!\\)\}", line))
    assert depth == 0
    markdown = Path("out/compare.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in markdown.splitlines()
        if line[:1] == "|"
    ]
    plain = [[re.sub(r"\\(.)|\*\*|</?u>", r"\1", cell) for cell in row] for row in rows]
    assert printed[0][-1] in plain
    assert all(row in plain for row in printed[0])


def test_the_best_is_bold_and_equal_values_are_marked_equally(runs: Path, compare: Any) -> None:
    """Two groups differ in the third digit, which is not printed: both are best. Bicubic is not marked."""
    for k, (net, psnr) in enumerate([("espcn", 30.001), ("fsrcnn", 30.002), ("imdn", 29.9), ("rfdn", 27.0)]):
        make_training(runs, f"{k}", score(*[psnr] * 5), net=net)
    latex = compare.latex()
    assert [re.findall(rf"{net} & 1 & (.*?) &", latex)[0] for net in ("espcn", "fsrcnn", "imdn", "rfdn")] == [
        r"\textbf{30.00}", r"\textbf{30.00}", r"\underline{29.90}", "27.00"]  # fmt: skip
    assert re.search(r"bicubic & -- & 28\.00 &", latex)


def test_of_a_distance_the_lowest_is_the_best(runs: Path, compare: Any) -> None:
    for name, value in (("a", 0.2), ("b", 0.1)):
        folder = make_evaluation(runs, name, score(30, 30, 30, 30, 30), images=f"/{name}")
        text = (folder / "evaluate.json").read_text().replace('"psnr"', '"lpips"').replace("30.0", str(value))
        (folder / "evaluate.json").write_text(text)
    assert [row["name"] for row in compare(columns=["lpips"])[1]["tables"][0]["rows"]] == ["bicubic", "b", "a"]
    assert r"b & 1 & \textbf{0.1000} & $-$27.9000" in compare.latex(columns=["lpips"])


def test_the_verdicts_are_those_of_the_statistics(runs: Path, compare: Any) -> None:
    """On 14 images a difference of one sign is significant; on five, nothing can be."""
    for name, base in (("espcn", 30.0), ("fsrcnn", 30.5)):
        values = {f"i{k}": base + k + 0.01 * (k % 3) * (name == "espcn") for k in range(14)}
        make_training(runs, name, {"Set14": values} | score(*[base + k for k in range(5)]), net=name)
    out, content = compare(power=0.05)
    (set14,), (set5,) = content["tables"][0]["pairs"], content["tables"][1]["pairs"]
    assert (set14["first"], set14["second"], set14["verdict"]) == ("fsrcnn", "espcn", "better")
    assert set14["difference"] == pytest.approx(0.5 - 0.01 * 13 / 14)
    assert set14["sentence"].startswith("better by 0.49 dB [")
    assert "p < 0.001; of two weight files, not of two methods" in set14["sentence"]
    assert set5["sentence"] == "too few images to tell on Set5 (n = 5): at least 1 more needed"
    assert "a difference of 0.05 dB is found with a probability of" in out


def test_one_group_is_compared_with_bicubic(runs: Path, compare: Any) -> None:
    make_training(runs, "a", {"Set14": {f"i{k}": 29.0 + k for k in range(14)}})
    pair = compare()[1]["tables"][0]["pairs"][0]
    assert (pair["first"], pair["second"], pair["verdict"], pair["difference"]) == (
        "espcn l1",
        "bicubic",
        "better",
        7.5,
    )


def test_many_groups_are_not_all_compared_with_each_other(
    runs: Path, compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sr.comparison.pairs.MAX_GROUPS", 3)
    for k in range(5):
        make_training(runs, f"{k}", score(*[30 + k] * 5), options={"data.batch": k + 1})
    pairs = compare()[1]["tables"][0]["pairs"]
    assert [(pair["first"], pair["second"]) for pair in pairs] == [
        ("batch=5", "batch=4"), ("batch=5", "batch=3"), ("batch=4", "batch=3")]  # fmt: skip
    out, content = compare(reference="batch=3")
    assert [(pair["first"], pair["second"]) for pair in content["tables"][0]["pairs"]] == [
        ("batch=5", "batch=3"), ("batch=4", "batch=3"), ("batch=3", "batch=2"), ("batch=3", "batch=1")]  # fmt: skip
    assert "of 5 groups, each is compared with batch=3 alone" in out


def test_metrics_have_the_direction_that_their_classes_have() -> None:
    from sr.metric.color_shift import ColorShift
    from sr.metric.correctness import Correctness
    from sr.metric.dists import DISTS
    from sr.metric.ergas import ERGAS
    from sr.metric.flicker import Flicker
    from sr.metric.lpips import LPIPS
    from sr.metric.lr_psnr import LRPSNR
    from sr.metric.ms_ssim import MSSSIM
    from sr.metric.niqe import NIQE
    from sr.metric.sam import SAM
    from sr.metric.spectrum import Spectrum
    from sr.metric.warping_error import WarpingError

    classes = {"color_shift": ColorShift, "dists": DISTS, "lpips": LPIPS, "lr_psnr": LRPSNR, "ms_ssim": MSSSIM,
               "spectrum": Spectrum, "niqe": NIQE, "sam": SAM, "ergas": ERGAS}  # fmt: skip
    clips = {"warping_error": WarpingError, "flicker": Flicker}
    shares = {share: Correctness(share) for share in ("improvement", "omission", "hallucination")}
    files = {path.stem for path in (find_conf_dir() / "metric" / "also").glob("*.yaml")}
    assert classes.keys() | shares.keys() | clips.keys() == files
    niqe = {NIQE(variant).label: NIQE for variant in ("matlab", "gray", "pirm")}
    classes = {name: kind for name, kind in classes.items() if name != "niqe"}
    of_clips = {kind.label: kind for kind in clips.values()}
    for name, kind in {
        **classes,
        **niqe,
        **of_clips,
        **{measure.label: measure for measure in shares.values()},
    }.items():
        assert KNOWN[name].better == kind.better
        assert KNOWN[name].unit == getattr(kind, "unit", KNOWN[name].unit)


def test_a_group_of_which_one_run_was_tested_elsewhere(runs: Path, compare: Any) -> None:
    make_training(runs, "a", score(30, 31, 32, 33, 34))
    make_training(runs, "b", score(30, 31, 32, 33, 35) | {"Set14": {"zebra": 20.0}}, seed=1)
    out, content = compare()
    assert [find_row(content, "espcn l1", k)["runs"] for k in (0, 1)] == [2, 1]
    assert "espcn l1: 1 of 2 runs have no result here" in out


def test_an_evaluation_of_a_copied_checkpoint_belongs_to_its_training(tmp_path: Path, runs: Path, compare: Any) -> None:
    folder = make_training(runs, "1", score(30, 31, 32, 33, 34), seed=3)
    copy = tmp_path / "elsewhere" / "mine.ckpt"
    copy.parent.mkdir()
    copy.write_bytes((folder / "best.ckpt").read_bytes())
    make_evaluation(runs, "2", {"Set14": {"zebra": 26.0}}, checkpoint=copy)
    out, content = compare()
    assert [(group["name"], [run["seed"] for run in group["runs"]]) for group in content["groups"]] == [
        ("espcn l1", [3])
    ]
    assert [table["set"] for table in content["tables"]] == ["Set5", "Set14"]
    assert "is a group of its own" not in out


def test_an_evaluation_of_an_unknown_checkpoint_is_a_group_of_its_own(tmp_path: Path, runs: Path, compare: Any) -> None:
    make_training(runs, "1", score(30, 31, 32, 33, 34), net="fsrcnn")
    (tmp_path / "theirs.pth").write_bytes(b"weights")
    make_evaluation(runs, "2", score(30, 31, 32, 33, 35), checkpoint=tmp_path / "theirs.pth", net="IMDN")
    out, content = compare()
    assert {group["name"] for group in content["groups"]} == {"fsrcnn l1", "IMDN"}
    assert "is a group of its own" in out


@pytest.mark.parametrize(("options", "name"), [({"ensemble": True}, "ensemble=true"), ({"tile": 64}, "tile=64")])
def test_self_ensemble_and_tiles_are_methods_of_their_own(
    runs: Path, compare: Any, options: dict[str, Any], name: str
) -> None:
    folder = make_training(runs, "1", score(30, 31, 32, 33, 34))
    make_evaluation(runs, "2", score(30, 31, 32, 33, 35), checkpoint=folder / "best.ckpt", options=options)
    assert [group["name"] for group in compare()[1]["groups"]] == ["espcn l1", name]


def test_of_many_rows_the_terminal_shows_the_best(runs: Path, compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sr.comparison.text.MAX_ROWS", 2)
    for k, net in enumerate(("espcn", "fsrcnn", "imdn")):
        make_training(runs, net, score(*[30 + k] * 5), net=net)
    out, content = compare()
    assert re.findall(r"^(\w+) +[1–] +\d\d\.\d\d", out, re.MULTILINE) == ["bicubic", "imdn"]
    assert "… and 2 more in compare.md" in out
    assert len(content["tables"][0]["rows"]) == 4


def test_latex_has_a_table_of_all_sets_as_papers_print(runs: Path, compare: Any) -> None:
    make_training(runs, "a", score(30, 30, 30, 30, 30) | {"Set14": {"zebra": 26.0}})
    make_training(runs, "b", score(31, 31, 31, 31, 31), net="fsrcnn")
    joint = compare.latex().partition(r"\end{table}")[0]
    assert r"& \multicolumn{2}{c}{Set5} & \multicolumn{2}{c}{Set14} \\" in joint
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}" in joint
    assert r"espcn & \underline{30.00} & \underline{0.7500} & 26.00 & 0.6500 \\" in joint
    assert r"fsrcnn & \textbf{31.00} & \textbf{0.7750} & -- & -- \\" in joint
    assert r"\label{tab:x2-protocol-edsr}" in joint


def test_leaks_tiles_and_the_status_are_noted(runs: Path, compare: Any) -> None:
    folder = make_evaluation(runs, "a", score(30, 31, 32, 33, 34))
    content = json.loads((folder / "evaluate.json").read_text())
    content["sets"]["Set5"] |= {"leaks": ["t36 of T91 is bird"], "tile": 512}
    (folder / "evaluate.json").write_text(json.dumps(content))
    make_training(runs, "b", score(30, 31, 32, 33, 34), status="KILLED")
    _, content = compare()
    notes = "\n".join(content["notes"])
    assert "a: Set5: LEAK, the net was trained on images of the test set" in notes
    assert "t36 of T91 is bird" in notes
    assert "a: Set5: evaluated in tiles of 512 LR pixels" in notes
    assert "b: it ended as KILLED; the results that it has are compared" in notes


def test_gans_that_began_with_the_cnns_of_several_seeds_are_one_group(runs: Path, compare: Any) -> None:
    """One that began with another kind of CNN is another method."""
    for seed, loss in ((0, "l1"), (1, "l1"), (2, "mse")):
        folder = make_training(runs, f"cnn-{seed}", {}, loss=loss, seed=seed)
        make_training(
            runs, f"gan-{seed}", score(1, 2, 3, 4, seed), seed=seed, options={"model.init": f"{folder}/best.ckpt"}
        )
    _, content = compare([f"runs/gan-{seed}" for seed in range(3)])
    assert [[run["seed"] for run in group["runs"]] for group in content["groups"]] == [[0, 1], [2]]
    assert re.fullmatch(r"init=espcn l1 #\w{4}", content["groups"][0]["name"])


@pytest.mark.parametrize(("file", "text"), [
    ("data.json", '{"test": {"Set5": []}}'), ("data.json", '{"test": {"Set5": {"files": [1]}}}'), ("data.json", "[]"),
    ("config.yaml", "seed: [1]"), ("config.yaml", "- 1"), ("choices.yaml", "model: {a: [}"), ("summary.json", "[]"),
    ("per_image.json", '{"schema_version": 1, "sets": {"test/Set5": {"protocol": "edsr", "images": {"a": 5}}}}'),
    ("per_image.json", '{"schema_version": 99, "sets": {}}'),
])  # fmt: skip
def test_a_damaged_run_is_listed_and_the_others_are_compared(runs: Path, compare: Any, file: str, text: str) -> None:
    make_training(runs, "a", score(30, 31, 32, 33, 34))
    (make_training(runs, "b", score(30, 31, 32, 33, 34), net="fsrcnn") / file).write_text(text)
    _, content = compare()
    assert [run["name"] for run in content["skipped"]] == ["b"]
    assert content["skipped"][0]["reason"].startswith("it is damaged: ")
    assert [group["name"] for group in content["groups"]] == ["espcn l1"]


def test_a_leak_into_a_set_that_is_not_compared_is_not_noted(runs: Path, compare: Any) -> None:
    folder = make_training(runs, "a", score(30, 31, 32, 33, 34))
    summary = json.loads((folder / "summary.json").read_text())
    for leak, is_noted in (("T91/t36 shows Set14/comic", False), ("T91/t36 shows Set5/bird", True)):
        (folder / "summary.json").write_text(json.dumps(summary | {"leaks": [leak]}))
        assert any(leak in note for note in compare()[1]["notes"]) == is_noted


def test_an_evaluation_may_be_the_reference_of_its_training(runs: Path, compare: Any) -> None:
    folder = make_training(runs, "1", score(30, 31, 32, 33, 34))
    make_evaluation(runs, "2", score(30, 31, 32, 33, 34), checkpoint=folder / "best.ckpt")
    make_training(runs, "3", score(31, 32, 33, 34, 35), net="fsrcnn")
    for words in (["runs"], ["runs/3"], ["runs/1", "runs/3"]):
        _, content = compare(words, reference="runs/2")
        assert content["tables"][0]["reference"] == "espcn"
        assert find_row(content, "fsrcnn")["metrics"]["psnr"]["difference"] == 1


def test_each_of_two_failed_attempts_is_listed(runs: Path, compare: Any) -> None:
    make_training(runs, "1", score(30, 31, 32, 33, 34))
    for name in ("2", "3"):
        folder = make_training(runs, name, {}, seed=5, status="FAILED", exit="out of memory")
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(summary | {"checkpoint_sha256": None}))
    _, content = compare(reference="runs/1")
    assert [run["name"] for run in content["skipped"]] == ["2", "3"]


def test_a_metric_that_some_runs_lack_is_noted(runs: Path, compare: Any) -> None:
    for seed in (0, 1):
        folder = make_training(runs, f"1-{seed}", score(30, 31, 32, 33, 34), seed=seed)
    folder = make_evaluation(runs, "2", score(30, 31, 32, 33, 34), checkpoint=folder / "best.ckpt")
    content = json.loads((folder / "evaluate.json").read_text())
    content["sets"]["Set5"]["metrics"]["lpips"] = 0.2
    (folder / "evaluate.json").write_text(json.dumps(content))
    out, _ = compare()
    assert "espcn l1: LPIPS of 1 of 2 runs; the others were evaluated without" in out


def test_runs_of_other_commands_are_no_runs_to_compare(runs: Path, compare: Any) -> None:
    make_training(runs, "1", score(30, 31, 32, 33, 34))
    for command in ("compare", "sweep"):
        file = make_training(runs, command, {}) / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"verb": command}))
    assert compare()[1]["skipped"] == []
