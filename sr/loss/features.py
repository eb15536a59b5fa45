"""`model/loss=[features]`: a perceptual loss that needs no download: through a small VGG that comes with this package.

It learned to tell CIFAR-10's ten classes apart, from the labels of 8,336 pictures of 32×32: experiments/cifar10_features
says how, and how well. It has seen far less than ImageNet's networks; what it knows is edges, corners and textures.
"""

from pathlib import Path

from sr.loss.perceptual import Perceptual
from sr.runtime.error import UserError

FILE = Path(__file__).with_name("cifar10_features.safetensors")


class Features(Perceptual):
    """As `Perceptual`, in every dial; `weights` is another file that experiments/cifar10_features/train.py wrote, or any
    VGG in torchvision's layout."""

    key = "model.loss.features"

    def _file(self, weights: str | None) -> Path:
        file = Path(weights).expanduser() if weights else FILE
        if not file.is_file():
            raise UserError(
                f"{self.key}.weights={file}: there is no such file; write one with experiments/cifar10_features/train.py, "
                f"or leave this dial null for the one that comes with sr"
            )
        return file
