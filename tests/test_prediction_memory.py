"""Peak memory of sr.predict: large images in windows and rows, many small ones without growth."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import write_image
from PIL import Image
from test_predict import run_predict, save_checkpoint

COMMAND = """
import sys
from pathlib import Path
from sr.predict import main
sys.argv[0] = "sr-predict"
try:
    main()
finally:
    print("peak", Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)
"""  # KiB; ru_maxrss would be that of the process that started this one, if it is larger


def measure_peak(checkpoint: Path, *words: str) -> float:
    """Return the peak of the resident memory of one command, in MB."""
    command = [sys.executable, "-c", COMMAND, f"checkpoint={checkpoint}", "device=cpu", "progress=false", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=checkpoint.parent)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split("peak ")[-1]) * 1024 / 1e6


@pytest.mark.slow(20)
@pytest.mark.parametrize("suffix", ["jpg", pytest.param("png", marks=pytest.mark.long)])
def test_neither_the_net_nor_the_result_of_a_large_image_is_in_memory_as_a_whole(tmp_path: Path, suffix: str) -> None:
    """8 megapixels ×2: the source is 24 MB decoded (32 in Pillow), the result 96 MB, and 384 MB in float32."""
    checkpoint = save_checkpoint(tmp_path / "best.ckpt")
    small = write_image(tmp_path / f"small.{suffix}", 64, 64)
    coarse = np.random.default_rng(0).integers(0, 256, (100, 80, 3), dtype=np.uint8)
    large = tmp_path / f"large.{suffix}"
    Image.fromarray(coarse).resize((2500, 3200), Image.Resampling.BICUBIC).save(large)
    least = measure_peak(checkpoint, f"input={small}", "output=small_out")
    most = measure_peak(checkpoint, f"input={large}", "output=large_out", f"memory={least + 150:.0f}MB")
    with Image.open(next((tmp_path / "large_out").glob(f"large*.{suffix}"))) as result:
        assert result.size == (5000, 6400)
    assert most - least < 260  # the decoded source, and strips; memory= allows 150, encoders need somewhat more


@pytest.mark.slow(15)
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save_checkpoint(tmp_path / "best.ckpt")
    monkeypatch.chdir(tmp_path)
    for k in range(600):
        write_image(tmp_path / ("first" if k < 200 else "then") / f"{k}.png", 40, 40, seed=k)
    process = psutil.Process(os.getpid())
    run_predict(checkpoint, "first", "a")
    before = process.memory_info().rss
    run_predict(checkpoint, "then", "b")
    assert process.memory_info().rss - before < 15e6  # the results of 400 images have 7.7 MB, their float32 31
