"""`engine=ray` of sr.predict: addresses, the Parquet manifest, and a cluster on this machine that loses a worker."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_image
from deadly_net import ALWAYS, MARK, ONCE, Deadly
from documents import ROOT
from test_predict import DEFAULTS, create_work_folder, run_predict, save_checkpoint

from sr.prediction.api import load
from sr.prediction.engine import ray as engine
from sr.prediction.engine.address import open_store
from sr.prediction.engine.listing import list_files
from sr.prediction.engine.parquet import DONE, FAILED, REFUSED, ManifestRow, ParquetManifest
from sr.prediction.engine.remote import RemoteFile, RemoteUpscaler
from sr.prediction.process_name import name_process
from sr.prediction.result_size import ResultSize
from sr.runtime.error import UserError

pytest.importorskip("ray", reason="needs sr[ray]")


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return create_work_folder(tmp_path, monkeypatch)


@pytest.fixture
def bucket() -> Iterator[str]:
    """The address of an object store in the memory of this process."""
    import fsspec

    system = fsspec.filesystem("memory")
    yield "memory://bucket"
    system.rm("/bucket", recursive=True)


def read_rows(folder: str) -> dict[str, dict[str, Any]]:
    """Return the last row of each source, as another program reads the manifest."""
    import pandas

    rows = pandas.read_parquet(f"{folder}/predict.parquet").sort_values("ended").to_dict("records")
    return {Path(row["source"]).name: row for row in rows}


def test_the_last_row_of_an_image_counts(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), "output")
    rows = [ManifestRow("a", "aa" * 16, FAILED), ManifestRow("a", "aa" * 16, DONE, "a_x2.png", bytes=7)]
    for row in rows:
        manifest = ParquetManifest(store)
        manifest.begin([row.digest])
        manifest.record(row)
        assert ParquetManifest(store).is_begun(row.digest)
        manifest.close()
    known = ParquetManifest(store)
    assert known.find("aa" * 16)[:3] == (DONE, "a_x2.png", 7)
    assert (known.find("bb" * 16), known.is_begun("aa" * 16)) == (None, False)
    next(tmp_path.glob("predict.parquet/*")).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"expected a part of the manifest of sr\.predict"):
        ParquetManifest(store)


def test_files_of_an_object_store_are_upscaled(tmp_path: Path, checkpoint: Path, bucket: str) -> None:
    """With the results of the other engines; without a cluster, of which each process has a memory of its own."""
    source, output = open_store(f"{bucket}/in", "input"), open_store(f"{bucket}/out", "output")
    for name in ("a.png", "deep/b.jpg"):
        source.write(name, write_image(Path("in", name), 20, 30).read_bytes())
    source.write("deep/bad.png", Path("in/a.png").read_bytes()[:-40])
    for name in ("notes.txt", ".hidden.png", "scan.dcm"):
        source.write(name, b"")
    files = list_files(f"{bucket}/in", True, output)
    assert [(file.address, file.folder) for file in files] == [
        ("memory:///bucket/in/a.png", ""),
        ("memory:///bucket/in/deep/b.jpg", "deep"),
        ("memory:///bucket/in/deep/bad.png", "deep"),
    ]  # fmt: skip
    model = load(checkpoint, "cpu")
    config = {**DEFAULTS, "output": f"{bucket}/out", "engine": "ray"}
    setup = engine._create_setup(config, model, ResultSize(), ParquetManifest(output), "×2")
    remote = [RemoteFile(k, file.address, file.folder, f"{k:032}") for k, file in enumerate(files)]
    remote.append(RemoteFile(3, f"{bucket}/in/missing.png", "", f"{3:032}"))
    rows = list(RemoteUpscaler(model, setup).upscale(remote))
    assert [row.status for row in rows] == [DONE, DONE, REFUSED, FAILED]
    assert rows[2].reason.startswith("memory:///bucket/in/deep/bad.png: this image is damaged")
    assert rows[3].reason.startswith("memory://bucket/in/missing.png: cannot be copied (FileNotFoundError")
    Path("in/deep/bad.png").unlink(missing_ok=True)
    run_predict(checkpoint, "in", "out")
    for row, name in zip(rows, ("a_x2.png", "deep/b_x2.jpg"), strict=False):
        assert (row.target, output.read(name)) == (name, Path("out", name).read_bytes())
        assert (row.bytes, row.width, row.height) == (Path("out", name).stat().st_size, 60, 40)


def test_each_engine_goes_on_where_another_one_was_stopped(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Without a cluster: its worker is in this process."""

    def upscale_here(run: engine.ClusterRun, sources: list[RemoteFile]) -> None:
        run.manifest.begin([source.digest for source in sources])
        for row in RemoteUpscaler(run.model, run.setup).upscale(sources):
            run._count(row)

    monkeypatch.setattr(engine.ClusterRun, "_upscale_all", upscale_here)
    for name in ("a.png", "deep/b.jpg"):
        write_image(Path("in", name), 20, 30)
    run_predict(checkpoint, "in", "out", engine="none")
    write_image(Path("in/c.png"), 20, 30)
    run_predict(checkpoint, "in", "out", engine="ray", format="png", overwrite=True)  # also b_x2.png
    run_predict(checkpoint, "in", "out", engine="ray")
    capsys.readouterr()
    run_predict(checkpoint, "in", "out", engine="none")
    assert capsys.readouterr().out == "3 images finished before\n"
    with pytest.raises(UserError, match="exist already"):
        run_predict(checkpoint, "in", "out", engine="none", tile=8)

    write_image(Path("in/d.png"), 20, 30)
    with monkeypatch.context() as patch:  # killed when the first result is there
        patch.setattr(ParquetManifest, "record", lambda *_: None)
        patch.setattr(ParquetManifest, "close", lambda _: None)
        run_predict(checkpoint, "in", "out", engine="ray")
    assert Path("out/d_x2.png").exists()
    dead = f".predict-1+{name_dead_process()}.staging"
    Path("out", dead).mkdir()
    run_predict(checkpoint, "in", "out", engine="none")
    assert sorted(os.listdir("out")) == [  # noqa: PTH208
        ".predict-begun", "a_x2.png", "c_x2.png", "d_x2.png", "deep", "predict.json", "predict.parquet"
    ]  # fmt: skip
    capsys.readouterr()
    run_predict(checkpoint, "in", "out", engine="ray")
    assert capsys.readouterr().out == "4 images finished before\n"


def name_dead_process() -> str:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return name_process().rpartition("-")[0] + f"-{process.pid}"


def test_what_cannot_be_is_refused(checkpoint: Path, bucket: str) -> None:
    write_image(Path("in/a.png"), 8, 8)
    for words, message in (
        ({"output": None}, r"^engine=ray: expected output=FOLDER"),
        ({"output": "in"}, r"^output=.*in: expected another folder than that of the images"),
        ({"output": "a.png"}, r"^output=a\.png: expected a folder with engine=ray"),
        ({"input": f"{bucket}/x", "engine": "auto"}, r"^input=memory://bucket/x: expected engine=ray for an address"),
        ({"preview": True}, r"^preview: expected false with engine=ray"),
        ({"input": "nope://x"}, r"^input=nope://x: fsspec cannot open this address"),
        ({"input": f"{bucket}/nothing"}, r"^input=memory://bucket/nothing: expected images"),
        ({"address": "127.0.0.1:1"}, r"^address=127\.0\.0\.1:1: Ray's cluster cannot be reached"),
    ):
        options = {"input": "in", "output": "out", "engine": "ray", **words}
        with pytest.raises(UserError, match=message):
            run_predict(checkpoint, options.pop("input"), options.pop("output"), **options)
    with pytest.raises(UserError, match=r"^address=auto: expected engine=ray \(found engine=auto\)"):
        run_predict(checkpoint, "in", "out", address="auto")
    open_store(bucket, "input").write("a.jpg", b"")
    open_store(bucket, "input").write("A.png", b"")
    with pytest.raises(UserError, match="expected different names, without their suffixes"):
        run_predict(checkpoint, bucket, "out", engine="ray")


def test_commands_for_clusters_are_accepted(sr: Any) -> None:
    """Those of docs/deploy.md for Kubernetes and SLURM."""
    lines = re.findall(r"sr-predict (engine=ray .*)$", (ROOT / "docs/deploy.md").read_text(encoding="utf-8"), re.M)
    assert len(lines) == 2
    for line in lines:
        answer = sr("predict", *line.split(), "--cfg=job")
        assert answer.code == 0, answer.err


@pytest.mark.long
def test_a_cluster_does_each_image_once_and_records_what_is_lost(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """12 images: one ends its worker once, another one always, and one is damaged."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    for k in range(12):
        write_image(Path(f"in/{k:02}.png"), 20, {4: ONCE, 7: ALWAYS}.get(k, 30), seed=k)
    Path("in/09.png").write_bytes(Path("in/09.png").read_bytes()[:-40])
    weights = {f"net.{name}": value for name, value in Deadly().state_dict().items()}
    deadly = save_checkpoint(tmp_path / "deadly.ckpt", net={"_target_": "deadly_net.Deadly"}, weights=weights)
    options = {"engine": "ray", "workers": 2, "trust": ["deadly_net"]}
    with pytest.raises(
        UserError, match=r"^2 images could not be upscaled, see predict\.parquet in .*; 10 images upscaled"
    ):
        run_predict(deadly, "in", "out", **options)
    assert MARK.exists()
    rows = read_rows("out")
    assert {name: row["status"] for name, row in rows.items()} == {
        f"{k:02}.png": {7: FAILED, 9: REFUSED}.get(k, DONE) for k in range(12)
    }
    assert "its worker was lost twice" in rows["07.png"]["reason"]
    assert sorted(os.listdir("out")) == sorted(  # noqa: PTH208
        [*(f"{k:02}_x2.png" for k in range(12) if k not in (7, 9)), "predict.parquet"]
    )
    for name in ("00", "04"):
        lr = np.asarray(open_rgb(f"in/{name}.png"))
        assert np.array_equal(np.asarray(open_rgb(f"out/{name}_x2.png")), lr.repeat(2, 0).repeat(2, 1))
    states = {path: path.stat().st_mtime_ns for path in Path("out").glob("*.png")}
    Path("in/07.png").unlink()  # which is tried again
    capsys.readouterr()
    with pytest.raises(UserError, match=r"^1 image could not be .*; 10 images finished before; 1 image refused before"):
        run_predict(deadly, "in", "out", **options)
    assert {path: path.stat().st_mtime_ns for path in Path("out").glob("*.png")} == states
    with pytest.raises(UserError, match=r"^output=.*/out: 00_x2\.png.* exist already; overwrite=true replaces them$"):
        run_predict(checkpoint, "in", "out", **options)


def open_rgb(path: str) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB")
