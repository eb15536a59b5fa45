"""Full float32 precision, whatever PyTorch's settings are, and by which of its two interfaces they were made."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, torch
from sr.image.resize import imresize
from sr.runtime import precision

def state():
    return precision.read_settings(), [setting.fp32_precision for setting in precision._list_settings().values()]

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
assert not precision.is_full_precision(cpu) and torch.equal(imresize(photo, 0.25), small), "an LR image of lower precision"
with precision.use_full_precision("cpu"):
    assert precision.is_full_precision(cpu) and state() != before
    assert torch.equal(a @ b, exact)
    assert not torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.conv.fp32_precision != "tf32"
assert state() == before
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    ],
)
def test_full_precision_inside_and_the_old_settings_afterwards(statement: str) -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM, statement], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
