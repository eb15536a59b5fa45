"""Recognize a result that was written already, by the same net with the same options, so that it is not computed again."""

import hashlib
import os
from pathlib import Path

import torch
from PIL import Image

from sr.checkpoint.load import LoadedNet

KEY = "sr:digest"  # of the tEXt chunk in a PNG file


def digest_net(model: LoadedNet, ensemble: bool, tile: int | None) -> str:
    """Return the SHA-256 of everything but the image that a result depends on: weights, architecture and options."""
    digest = hashlib.sha256(repr((model.net, model.color, model.scale, ensemble, tile)).encode())
    for name, tensor in model.net.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def digest_job(net_digest: str, source: Path) -> str:
    """Return the digest of the result of one file, by its size and the time of its last change; "" if there is none."""
    try:
        stat = source.stat()
    except OSError:  # a link that leads nowhere: whoever reads the file reports it
        return ""
    state = f"{net_digest} {source.name} {stat.st_size} {stat.st_mtime_ns}"
    return hashlib.sha256(os.fsencode(state)).hexdigest()  # a file name may be no UTF-8


def has_digest(target: Path, digest: str) -> bool:
    """Return whether `target` is a result of this digest. It is complete, for it was renamed when it was."""
    try:
        with Image.open(target, formats=("PNG",)) as image:
            return image.info.get(KEY) == digest
    except Exception:  # whatever Pillow raises for a file that is something else
        return False
