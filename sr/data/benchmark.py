"""`data=benchmark`: named evaluation sets (Set5, Set14, BSD100, Kodak24, any folder of that layout), no training set."""

from sr.data.module import SRDataModule
from sr.data.source import Split


class Benchmark(SRDataModule):
    """The images `root/NAME/HR/*.png` for each name in `val` and `test`."""

    def find_images(self, split: Split) -> None:
        return None
