"""Evaluation batches, and their distribution over the processes of a DDP run."""

from collections.abc import Sequence

import torch
from torch.utils.data import BatchSampler, DataLoader

from sr.data.image_set import ImageSet
from sr.data.tile_set import TileSet


def build_evaluation_loaders(
    sets: Sequence[ImageSet | TileSet], seed: int, world: int = 1, rank: int = 0
) -> list[DataLoader]:
    """Build a loader for each evaluation set, of whole images in the set's order.

    Each of `world` processes evaluates a contiguous run of images, so that results gathered by rank are in the set's
    order. A process that gets no image of any set has a single batch, which is None.
    """
    loaders = []
    for images in sets:
        batches = BatchSampler(select_shard(len(images), world, rank), images.evaluation_batch, False)
        generator = torch.Generator().manual_seed(seed)
        loaders.append(DataLoader(images, sampler=batches, batch_size=None, generator=generator))
    if loaders and not any(
        map(len, loaders)
    ):  # Lightning would skip the evaluation, and the other processes would wait
        loaders[0] = DataLoader([None], batch_size=None)
    return loaders


def select_shard(count: int, world: int, rank: int) -> range:
    """Return the indices, of `count` images, that process `rank` of `world` evaluates: a contiguous run, in rank order."""
    return range(-(-count * rank // world), -(-count * (rank + 1) // world))
