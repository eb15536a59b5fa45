"""`data/degrade=real|bsr|surveillance`: a list of ops, each drawn for each image from that image's seed.

What happens to an image depends on its pixels and its seed alone, not on what else is in the batch: sizes may differ
between images while the chain runs, which peers avoid by one factor for a whole batch (and a queue to mix batches).
On a CPU the images are done one by one, side by side on PyTorch's threads, for that is what its caches like; on a GPU
each op is done to all images that it is next for at once.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sr.degrade.op import Images, Op, Size, Step
from sr.degrade.order import Steps
from sr.image.resize import imresize
from sr.runtime.error import UserError
from sr.runtime.parallel import map_parallel


class Chain(nn.Module):
    """uint8 HR `[B, C, s·h, s·w]` and int64 seeds `[B]` -> uint8 LR `[B, C, h, w]`; of floats, levels 0…255.

    What the ops leave in another size than LR's is resized to it as `data/degrade=bicubic` does. On a CPU a batch is
    its images one by one bit for bit, on a GPU but for the order of sums; noise is another one on another device.
    """

    fixed: ClassVar[bool] = False

    def __init__(self, scale: int, ops: Sequence[Op]) -> None:
        super().__init__()
        self.scale, self.steps = scale, Steps(ops)
        for k, op in enumerate(self.steps.modules()):
            op.place = k

    def __repr__(self) -> str:
        return f"Chain(scale={self.scale}, {', '.join(map(repr, self.steps.ops))})"

    @torch.no_grad()
    def forward(self, hr: Tensor, seeds: Tensor) -> Tensor:
        size = tuple(n // self.scale for n in hr.shape[-2:])
        if hr.dim() != 4 or any(n % self.scale for n in hr.shape[-2:]):
            raise UserError(
                f"data/degrade: expected HR [B, C, H, W] of a multiple of scale={self.scale}, got {tuple(hr.shape)}"
            )
        if seeds.shape != hr.shape[:1]:
            raise UserError(f"data/degrade: expected a seed for each of {len(hr)} images, got {tuple(seeds.shape)}")
        pieces = list(zip(hr, seeds.tolist(), strict=True))

        def work(some: Sequence[tuple[Tensor, int]]) -> Images:
            apart = [[piece] for piece in some] if hr.device.type == "cpu" else [some]
            return [lr for together in apart for lr in self._degraded(together, size)]

        return torch.stack(map_parallel(work, pieces, hr.device)).to(hr.dtype)

    def _degraded(self, pieces: Sequence[tuple[Tensor, int]], size: Size) -> Images:
        images, plans = (
            [image for image, _ in pieces],
            [self.steps.plan(np.random.default_rng(seed)) for _, seed in pieces],
        )
        return self.done(images, plans, size)

    def done(self, images: Images, plans: Sequence[list[Step]], size: Size) -> Images:
        """Each op in turn, to all images that it is next for; in the order of the list where images disagree.

        `images` are levels 0…255, the result is uint8 `[C, *size]`; `plans` are used up.
        """
        images = [image.to(torch.float32) / 255 for image in images]
        with torch.autocast(images[0].device.type, enabled=False):
            while any(plans):
                op = min((plan[0].op for plan in plans if plan), key=lambda op: op.place)
                who = [k for k, plan in enumerate(plans) if plan and plan[0].op is op]
                after = op([images[k] for k in who], [plans[k].pop(0).draw for k in who], size)
                for k, image in zip(who, after, strict=True):
                    images[k] = image
        return [_levels(image, size) for image in images]


def _levels(image: Tensor, size: Size) -> Tensor:
    """8-bit levels, uint8 `[C, h, w]`."""
    image = image if image.shape[-2:] == size else imresize(image, size=size)
    return (image * 255 + 0.5).clamp_(0, 255.5).to(torch.uint8)
