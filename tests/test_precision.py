"""float32's digits, whatever PyTorch was told of them, and by which of its two interfaces."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, torch
from sr.image.resize import imresize
from sr.runtime import precision

def state():
    return precision.read_settings(), [knob.fp32_precision for knob in precision._newer().values()]

cpu, photo = torch.device("cpu"), torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8)
a = b = torch.rand(512, 512)
exact, small = a @ b, imresize(photo, 0.25)
assert precision.is_full_precision(cpu)
before = state()
with precision.use_full_precision("cpu"):
    pass
assert state() == before
exec(sys.argv[1])
before = state()
assert not precision.is_full_precision(cpu) and torch.equal(imresize(photo, 0.25), small), "an LR picture of fewer digits"
with precision.use_full_precision("cpu"):
    assert precision.is_full_precision(cpu) and state() != before
    assert torch.equal(a @ b, exact)
    assert not torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.conv.fp32_precision != "tf32"
assert state() == before
"""


@pytest.mark.parametrize(
    "words",
    [
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    ],
)
def test_full_precision_inside_and_what_was_told_after(words: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
