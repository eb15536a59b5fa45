"""What the commands import: a package that a command does not use must not delay it."""

import subprocess
import sys
from pathlib import Path

from conftest import write_image
from test_predict import save_checkpoint

PROGRAM = """
import gc
import sys
from sr import evaluate, predict, run

LIGHTNING = {"pytorch_lightning", "lightning_fabric", "torchmetrics"}
SLOW = LIGHTNING | {"mlflow", "torchvision", "torch._dynamo", "torch._inductor", "sympy", "pandas", "scipy", "matplotlib",
                    "skimage", "sklearn", "spandrel", "onnx", "cv2"}

def call(command, *words, without):
    sys.argv = [command.__name__, *words]
    try:
        command.main()
    except SystemExit as stop:
        assert not stop.code, words
    loaded = without & set(sys.modules)
    assert not loaded, (words, loaded)

call(predict, "--help", without=SLOW | {"torch", "numpy", "PIL"})
call(predict, "--models", without=SLOW | {"torch", "numpy", "PIL"})
call(run, "--info", without=SLOW)
call(predict, "input=photo.png", "output=out/", "scale=2", "progress=false", without=SLOW)
call(predict, "input=photo.png", "output=one/", "checkpoint=best.ckpt", "progress=false", without=SLOW)
call(evaluate, "checkpoint=best.ckpt", "data.test=[Small]", "paths.data=.", "track=journal", "progress=false", without=SLOW)
assert gc.isenabled()
assert gc.get_freeze_count() > 100_000  # of torch alone
"""


def test_commands_without_a_training_import_neither_lightning_nor_dynamo(tmp_path: Path) -> None:
    """`--info`, predictions by sr's own network and by that of a checkpoint, and an evaluation."""
    write_image(tmp_path / "photo.png", 16, 24)
    write_image(tmp_path / "Small" / "HR" / "a.png", 32, 40)
    save_checkpoint(tmp_path / "best.ckpt")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/photo_x2.png").exists()
    assert list(tmp_path.glob("runs/*/evaluate.json"))
