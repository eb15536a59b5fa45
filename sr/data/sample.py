"""`data=sample`: the real photographs that scikit-image carries; no download, no network.

The split is fixed. No picture of one part appears in another.
"""

from pathlib import Path
from typing import Any

from sr.data.image_set import ImageSet
from sr.data.module import SRDataModule
from sr.data.patches import Patches

TRAIN = (
    "coffee.png", "rocket.jpg", "retina.jpg", "ihc.png", "hubble_deep_field.jpg", "brick.png", "grass.png", "gravel.png"
)  # fmt: skip
HELD_OUT = {"val": ("camera.png", "coins.png"), "test": ("astronaut.png", "chelsea.png", "motorcycle_left.png")}


class Sample(SRDataModule):
    """Eight photographs to learn from, two to validate on, three to test on."""

    name = "sample"

    def __init__(self, *, patch: int, **dials: Any) -> None:
        super().__init__(**dials)
        self.patch = patch

    def build_training_set(self) -> Patches:
        patches = self.build_patches(self._pictures(TRAIN), self.patch)
        patches.pictures.load()
        return patches

    def build_held_out_set(self, stage: str) -> ImageSet:
        return self._pictures(HELD_OUT[stage])

    def _pictures(self, names: tuple[str, ...]) -> ImageSet:
        import skimage  # here, because only this source needs it

        where = Path(skimage.__file__).parent / "data"
        return self.open_images([where / name for name in names])
