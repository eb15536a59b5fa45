"""Turn a loaded batch into the `Pair` that a network sees, on the device: gray, degrade, scale to 0…1, augment."""

import zlib
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from sr.image.batch import Pair, Raw
from sr.image.color import rgb_to_gray
from sr.image.levels import to_unit

# HR [B, C, H, W], uint8 or uint16 -> LR of this type; if random, called with a seed for each image.
Degradation = Callable[..., Tensor]
Augmentation = Callable[[Pair, torch.Generator], Pair]


def build_pair(
    batch: Raw,
    gray: bool,
    degrade: Degradation,
    select_channels: Callable[[Tensor, bool], Tensor],
    augmentations: Iterable[Augmentation] = (),
) -> Pair:
    """Return LR and HR of `batch` as floats in 0…1. LR is made by `degrade` unless the batch brings its own.

    `gray` converts the images to one channel first. `select_channels(images, is_gray)` is applied to whole images, which
    are evaluated, and `augmentations` to training batches, which have a seed. HR is nan where a whole image has no data.
    """
    hr, lr = batch.hr, batch.lr
    is_training = batch.seed is not None
    if gray:
        hr, lr = rgb_to_gray(hr), rgb_to_gray(lr) if lr is not None else None
    if not is_training:
        hr, lr = (select_channels(image, batch.gray) if image is not None else None for image in (hr, lr))
    if lr is None:
        lr = degrade(hr) if getattr(degrade, "fixed", True) else degrade(hr, draw_seeds(batch))
    is_exact = not is_training and hr.dtype != torch.uint8  # what is evaluated is no levels of 8 bits
    pair = Pair(*(to_unit(image, torch.float64 if is_exact else torch.float32) for image in (lr, hr)))
    if batch.valid is not None:
        pair = pair._replace(hr=torch.where(batch.valid, pair.hr, torch.nan))
    if is_training:
        generator = torch.Generator().manual_seed(batch.seed)
        for augment in augmentations:
            pair = augment(pair, generator)
    return pair


def draw_seeds(batch: Raw) -> Tensor:
    """Return a seed for the random degradation of each image of a batch, int64 `[B]`.

    In training it follows from the batch's seed and the image's position in it. An image of an evaluation set has the same
    seed in every run, process and order: the checksum of its pixels.
    """
    if batch.seed is None:
        return torch.tensor([zlib.crc32(hr.cpu().contiguous().numpy()) for hr in batch.hr])
    words = np.random.SeedSequence(batch.seed).generate_state(len(batch.hr), np.uint64)
    return torch.from_numpy((words >> np.uint64(1)).astype(np.int64))
