"""A network that ends its process: by some images always, by others once."""

import os
import signal
from pathlib import Path

from torch import Tensor, nn

ALWAYS, ONCE = 13, 11  # columns of such images
MARK = Path("died")  # in the working folder, when an image has done it once


class Deadly(nn.Module):
    """Upscales by 2, by repetition."""

    scale, channels, receptive_field = 2, 3, 1

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(1, 1)

    def forward(self, lr: Tensor) -> Tensor:
        width = lr.shape[-1]
        if width == ALWAYS or (width == ONCE and not MARK.exists()):
            MARK.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return lr.repeat_interleave(2, -1).repeat_interleave(2, -2)
