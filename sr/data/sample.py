"""`data=sample`: real photographs that scikit-image ships; no download, no network.

The split is fixed; no image is in two of its sets.
"""

from pathlib import Path

from sr.data.module import SRDataModule
from sr.data.source import ImageFiles, Split

NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("coffee.png", "rocket.jpg", "retina.jpg", "ihc.png", "hubble_deep_field.jpg", "brick.png", "grass.png",
              "gravel.png"),
    "val": ("camera.png", "coins.png"),
    "test": ("astronaut.png", "chelsea.png", "motorcycle_left.png"),
}  # fmt: skip


class Sample(SRDataModule):
    """Eight photographs for training, two for validation, three for testing."""

    name = "sample"

    def find_images(self, split: Split) -> ImageFiles:
        import skimage  # here, because only this source needs it

        folder = Path(skimage.__file__).parent / "data"
        return ImageFiles([folder / name for name in NAMES[split]])
