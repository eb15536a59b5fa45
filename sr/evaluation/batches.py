"""Iterate over an image set: batches on the device, read ahead by threads."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future

import torch
from torch.utils.data import BatchSampler

from sr.data.image_set import ImageSet
from sr.image.batch import Raw
from sr.runtime import terminal
from sr.runtime.parallel import BackgroundPool

BATCHES_AHEAD = 4  # that are read before they are needed
THREADS = 2


def iterate_batches(images: ImageSet, device: torch.device, title: str) -> Iterator[tuple[Raw, list[str]]]:
    """Yield the batches of a set on `device`, each with the names of its images, and show a progress bar.

    Decoded images are not cached: an evaluation needs each of them once.
    """
    images.retain_decoded = False
    indices = list(BatchSampler(range(len(images)), images.evaluation_batch, drop_last=False))
    with BackgroundPool(THREADS) as pool, terminal.create_progress_bar(len(images), title) as bar:
        pending: deque[Future[Raw]] = deque(pool.submit(images.__getitem__, i) for i in indices[:BATCHES_AHEAD])
        for k, batch in enumerate(indices):
            raw = pending.popleft().result()
            if k + BATCHES_AHEAD < len(indices):
                pending.append(pool.submit(images.__getitem__, indices[k + BATCHES_AHEAD]))
            yield _to_device(raw, device), [images.names[i] for i in batch]
            bar.update(len(batch))


def _to_device(raw: Raw, device: torch.device) -> Raw:
    layers = {name: getattr(raw, name) for name in ("hr", "lr", "valid")}
    return raw._replace(**{name: None if layer is None else layer.to(device) for name, layer in layers.items()})
