"""`data/degrade=real|bsr|surveillance|h264`: a list of ops, whose parameters are drawn for each image from the image's seed.

The result of an image depends on its pixels and its seed only, not on the rest of the batch. Sizes may therefore differ
between images inside the chain; other implementations use one resize factor for a whole batch (and a queue to mix
batches). On a CPU the images are processed one by one, in parallel on PyTorch's threads, which suits its caches; on a GPU
each op processes all images whose next op it is at once.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sr.degrade.op import DrawnOp, Images, Op, Size, draw_seed
from sr.degrade.order import Steps
from sr.image.levels import WHITE, round_to_levels, to_unit
from sr.image.resize import imresize
from sr.runtime.error import UserError
from sr.runtime.parallel import map_parallel


class Chain(nn.Module):
    """uint8 or uint16 HR `[B, C, s·h, s·w]` and int64 seeds `[B]` -> LR `[B, C, h, w]` of this type.

    Float HR holds levels 0…255, and so does its LR, rounded. All ops work in float 0…1; JPEG has 8 bits in any case.

    An image whose size is not that of LR after the last op is resized to it as `data/degrade=bicubic` does. On a CPU the
    LR of a batch equals that of its images one by one bit for bit, on a GPU up to the order of sums; the noise differs
    between devices.
    """

    fixed: ClassVar[bool] = False  # random: takes a seed for each image

    def __init__(self, scale: int, ops: Sequence[Op]) -> None:
        super().__init__()
        self.scale, self.steps = scale, Steps(ops)
        for k, op in enumerate(self.steps.modules()):
            op.index = k

    def __repr__(self) -> str:
        """Describe the chain; the text is stored, see `Op.__repr__`."""
        return f"Chain(scale={self.scale}, {', '.join(map(repr, self.steps.ops))})"

    @torch.no_grad()
    def forward(self, hr: Tensor, seeds: Tensor) -> Tensor:
        lr_size = tuple(n // self.scale for n in hr.shape[-2:])
        if hr.dim() != 4 or any(n % self.scale for n in hr.shape[-2:]):
            raise UserError(
                f"data/degrade: expected HR [B, C, H, W] of a multiple of scale={self.scale}, got {tuple(hr.shape)}"
            )
        if seeds.shape != hr.shape[:1]:
            raise UserError(f"data/degrade: expected a seed for each of {len(hr)} images, got {tuple(seeds.shape)}")
        items = list(zip(hr, seeds.tolist(), strict=True))

        def degrade_items(some: Sequence[tuple[Tensor, int]]) -> Images:
            groups = [[item] for item in some] if hr.device.type == "cpu" else [some]
            return [lr for group in groups for lr in self.degrade_images(group, lr_size)]

        return torch.stack(map_parallel(degrade_items, items, hr.device)).to(hr.dtype)

    def degrade_images(self, items: Sequence[tuple[Tensor, int]], lr_size: Size) -> Images:
        """Draw the steps of each image `[C, H, W]` from its seed, and apply them: -> levels `[C, *lr_size]` each."""
        plans = [self.steps.plan(np.random.default_rng(seed)) for _, seed in items]
        return self.apply_plans([image for image, _ in items], plans, lr_size)

    @property
    def takes_clips(self) -> bool:
        """True if the frames of a clip are degraded together, as `degrade_clip` does."""
        return any(op.takes_clips for op in self.steps.modules() if isinstance(op, Op))

    @torch.no_grad()
    def degrade_clip(self, frames: Iterable[Tensor], seed: int) -> Images:
        """Degrade the frames of a clip, uint8 or uint16 HR `[C, s·h, s·w]` each -> LR of this type, as one camera does.

        All frames have the same parameters, drawn from the seed, and each has noise of its own. Ops with `takes_clips` see
        all frames at once.
        """
        plan = self.steps.plan(np.random.default_rng(seed))
        bounds = [k for k, step in enumerate(plan) if step.op.takes_clips]
        parts = [plan[a + 1 : b] for a, b in pairwise([-1, *bounds, len(plan)])]
        images, lr_size, dtype = [], (0, 0), torch.uint8
        for time, frame in enumerate(frames):
            lr_size, dtype = tuple(n // self.scale for n in frame.shape[-2:]), frame.dtype
            images.append(_apply_steps(to_unit(frame), parts[0], time, lr_size))
        for bound, part in zip(bounds, parts[1:], strict=True):
            compressed = plan[bound].op.compress(images, plan[bound].parameters)
            images = [_apply_steps(image, part, time, lr_size) for time, image in enumerate(compressed)]
        images = [image if image.shape[-2:] == lr_size else imresize(image, size=lr_size) for image in images]
        return [round_to_levels(image, dtype) for image in images]

    def apply_plans(self, images: Images, plans: Sequence[list[DrawnOp]], lr_size: Size) -> Images:
        """Apply the ops in the order of the chain's list, each to all images whose plan has it next.

        `images` are levels, the results are uint8 or, of uint16, uint16 `[C, *lr_size]`; the plans are empty afterwards.
        """
        dtype = images[0].dtype if images[0].dtype in WHITE else torch.uint8
        images = [to_unit(image) for image in images]
        with torch.autocast(images[0].device.type, enabled=False):
            while any(plans):
                op = min((plan[0].op for plan in plans if plan), key=lambda op: op.index)
                selected = [k for k, plan in enumerate(plans) if plan and plan[0].op is op]
                results = op([images[k] for k in selected], [plans[k].pop(0).parameters for k in selected], lr_size)
                for k, image in zip(selected, results, strict=True):
                    images[k] = image
        images = [image if image.shape[-2:] == lr_size else imresize(image, size=lr_size) for image in images]
        return [round_to_levels(image, dtype) for image in images]


def _apply_steps(image: Tensor, steps: Sequence[DrawnOp], time: int, lr_size: Size) -> Tensor:
    """Apply ops to frame `time` of a clip, `[C, h, w]` in 0…1: with the clip's parameters, but noise of its own."""
    for op, parameters in steps:
        own = parameters
        if hasattr(parameters, "seed"):
            own = parameters._replace(seed=draw_seed(np.random.default_rng((parameters.seed, time))))
        image = op([image], [own], lr_size)[0]
    return image
