"""sr.compare with MLflow: where runs are found, what is downloaded, and how a comparison is recorded."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_runs import make_training

from sr.comparison.collect import RunCollector
from sr.comparison.comparing import make_comparison
from sr.comparison.data import format_json
from sr.runtime.error import UserError
from sr.track.found_run import translate_filter


@pytest.mark.parametrize(("typed", "translated"), [
    ("tags.data = 'T91'", "tags.`sr.data` = 'T91'"),
    ("tag.net='espcn' and tags.scale = '2'", "tags.`sr.net`='espcn' and tags.`sr.scale` = '2'"),
    ("tags.`sr.net` = 'a'", "tags.`sr.net` = 'a'"),
    ("tags.mlflow.runName = 'tags.net'", "tags.mlflow.runName = 'tags.net'"),
    ("tags.sr.net LIKE '%e%'", "tags.sr.net LIKE '%e%'"),
    ("params.`model.net` = 'tags.data = 3'", "params.`model.net` = 'tags.data = 3'"),
    ("", ""),
])  # fmt: skip
def test_tags_of_ours_are_found_under_their_short_names(typed: str, translated: str) -> None:
    assert translate_filter(typed) == translated


def test_reading_and_comparing_imports_no_torch() -> None:
    code = "import sys, sr.comparison.comparing; sys.exit(any(name in sys.modules for name in ('torch', 'mlflow')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Any]:
    """Three runs in MLflow, of which one has its folder on this machine; the folder of runs, the address, the client."""
    from mlflow import MlflowClient

    place = tmp_path_factory.mktemp("tracked")
    runs, uri = place / "runs", f"sqlite:///{place}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("losses", artifact_location=(place / "artifacts").as_uri())
    for k, net in enumerate(("espcn", "espcn", "fsrcnn")):
        values = {"Set14": {f"i{i}": 30.0 + k + i for i in range(14)}}
        folder = make_training(runs, f"{k}-{net}", values, net=net, seed=k)
        tags = {"sr.id": f"{k}" * 32, "sr.net": net, "sr.folder": str(folder)}
        run_id = client.create_run(experiment, tags=tags, run_name=folder.name).info.run_id
        identity = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(identity | {"run_id": run_id}))
        for name in ("config.yaml", "choices.yaml", "summary.json", "per_image.json", "data.json"):
            client.log_artifact(run_id, str(folder / name))
        if k:
            shutil.rmtree(folder)
    return runs, uri, client


def collect(tracked: Any, tmp_path: Path, words: list[str], condition: str | None = None) -> Any:
    config = {"runs": words, "filter": condition, "reference": None, "columns": None, "power": None}
    return make_comparison(RunCollector(tracked[0], tracked[1], tmp_path / "downloads"), config, [])


@pytest.mark.slow
def test_runs_of_an_experiment_are_found_page_by_page_and_downloaded(
    tracked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sr.track.found_run.PAGE_SIZE", 2)
    # The search has found all of each run: to ask for it again with each file takes minutes for 1,000 runs.
    monkeypatch.delattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore.get_run")
    comparison = collect(tracked, tmp_path, ["experiment:losses"])
    assert {group.name: [run.seed for run in group.runs] for group in comparison.groups} == {
        "espcn": [0, 1],
        "fsrcnn": [2],
    }
    means = {row.name: row.cells["psnr"].mean for row in comparison.tables[0].rows}
    assert means == {"bicubic": 28.0, "espcn": 37.0, "fsrcnn": 38.5}
    assert not comparison.skipped
    assert [run.name for group in comparison.groups for run in group.runs] == ["0-espcn", "1-espcn", "2-fsrcnn"]
    folders = [run["folder"] for group in json.loads(format_json(comparison))["groups"] for run in group["runs"]]
    assert folders == [str(tracked[0] / "0-espcn"), None, None]  # those that were downloaded are removed again


@pytest.mark.slow
def test_a_filter_selects_by_our_tags(tracked: Any, tmp_path: Path) -> None:
    comparison = collect(tracked, tmp_path, [], "tags.net = 'fsrcnn'")
    assert [run.seed for group in comparison.groups for run in group.runs] == [2]
    comparison = collect(tracked, tmp_path / "2", [str(tracked[0])], "tags.net = 'espcn'")  # of a folder
    assert [run.seed for group in comparison.groups for run in group.runs] == [0]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "condition", "message"), [
    ([], "tags.net = 'edsr'", "no run of sr in MLflow meets it (3 runs were searched; tags.net has the values espcn, fsrcnn)"),
    ([], "tags.net = ", "filter=tags.net = : MLflow at"),
    (["experiment:loses"], None, 'Did you mean "losses"?'),
    (["mlflow:" + "f" * 32], None, "nothing can be compared\n  mlflow:ffff"),
])  # fmt: skip
def test_what_mlflow_does_not_have_is_explained(
    tracked: Any, tmp_path: Path, words: list[str], condition: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        collect(tracked, tmp_path, words, condition)


@pytest.mark.slow
def test_a_comparison_is_a_run_in_mlflow_with_its_files(sr: Any, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    for seed in (0, 1):
        make_training(tmp_path / "runs", f"{seed}", {"Set14": {f"i{i}": 30.0 + i for i in range(14)}}, seed=seed)
    answer = sr("compare", "runs")
    assert answer.code == 0, answer.err
    run_id = re.search(r"^run +(\w{32})$", answer.out, re.MULTILINE)[1]
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert (run.data.tags["sr.verb"], run.data.tags["sr.sets"]) == ("compare", "Set14 x2")
    assert run.info.run_name == "compare espcn l1"
    assert "espcn l1" in run.data.tags["mlflow.note.content"]
    names = {file.path for file in client.list_artifacts(run_id)}
    assert {"compare.csv", "compare.md", "compare.tex", "compare.json", "config.yaml"} <= names
    again = sr("compare", "runs")  # the comparison in the same folder is no run to compare
    assert again.code == 0
    assert "Left out" not in again.out
    assert "nothing to send" in sr("sync", re.search(r"^folder +(.*)$", answer.out, re.MULTILINE)[1]).out


@pytest.mark.slow
def test_many_runs_are_compared_without_torch(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    base = {"Set14": generator.normal(30, 3, 14), "BSD100": generator.normal(28, 3, 100)}
    for k in range(100):
        values = {
            name: {f"i{i}": float(v + generator.normal(0, 0.1)) for i, v in enumerate(b)} for name, b in base.items()
        }
        make_training(tmp_path / "runs", f"{k:05}", values, seed=k % 3, options={"data.batch": k // 3 + 1})
    code = (
        "import sys; sys.argv[1:] = ['runs', 'track=none']; from sr.compare import main; main(); "
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert answer.stdout.splitlines()[-1] == "False"
