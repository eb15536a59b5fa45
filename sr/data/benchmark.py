"""`data=benchmark`: named sets only (Set5, Set14, BSD100, Kodak24, any folder of that layout); nothing to train on."""

from torch.utils.data import Dataset

from sr.data.module import SRData
from sr.runtime.error import UserError


class Benchmark(SRData):
    """`root/NAME/HR/*.png` for each name in `val` and `test`."""

    def training(self) -> Dataset | None:
        return None

    def held_out(self, stage: str) -> Dataset:
        raise UserError(f"data.{stage}: data=benchmark has no set of its own; name one of your folders, such as Set5")
