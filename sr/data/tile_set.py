"""A set of small images of one size, in one tensor: a batch is one indexing operation."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sr.data.patches import PatchDraw, flip_patches
from sr.data.source import ImageTensor
from sr.image.batch import Raw


class TileSet(Dataset):
    """Small images, cropped at the bottom and right to a multiple of `scale`.

    Trained on whole: an item is the batch of a `PatchDraw`, of which only the place is ignored; or the evaluation batch of
    a list of indices.
    """

    evaluation_batch = 256
    is_mapped = False

    def __init__(self, source: ImageTensor, scale: int) -> None:
        h, w = source.pixels.shape[-2:]
        self.files: list[Path] = list(source.files)
        self.images: Tensor = source.pixels[:, :, : h - h % scale, : w - w % scale].contiguous()  # uint8 [N, C, H, W]
        self.names = [f"{k:05d}" for k in range(len(self.images))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | list[int] | PatchDraw) -> Raw:
        if isinstance(key, PatchDraw):
            index, turn = (torch.from_numpy(x).to(self.images.device) for x in (key.index, key.turn))
            return Raw(flip_patches(self.images[index], turn), seed=key.seed)
        return Raw(self.images[key])

    @property
    def bytes(self) -> int:
        """The memory that all images take."""
        return self.images.numel()

    def move_to(self, device: torch.device) -> None:
        """Move all images to `device`, and cut batches there."""
        self.images = self.images.to(device)
