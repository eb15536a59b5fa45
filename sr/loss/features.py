"""`model/loss=[features]`: a perceptual loss without a download, on features of a small VGG that comes with this package.

It was trained to classify 8,336 images of 32×32 into CIFAR-10's ten classes; experiments/cifar10_features describes how,
and how accurate it is. It has seen far less than ImageNet's networks, so its features are edges, corners and textures.
"""

from pathlib import Path

from sr.loss.perceptual import Perceptual
from sr.runtime.error import UserError

FILE = Path(__file__).with_name("cifar10_features.safetensors")


class Features(Perceptual):
    """`Perceptual` with the small VGG; `weights` is another file of experiments/cifar10_features/train.py.

    Any VGG in torchvision's layout is accepted as well.
    """

    key = "model.loss.features"

    def _find_weight_file(self, weights: str | None) -> Path:
        file = Path(weights).expanduser() if weights else FILE
        if not file.is_file():
            raise UserError(
                f"{self.key}.weights={file}: there is no such file; write one with experiments/cifar10_features/train.py, "
                f"or use null for the one that comes with sr"
            )
        return file
