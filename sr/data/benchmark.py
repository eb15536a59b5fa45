"""`data=benchmark`: named sets only (Set5, Set14, BSD100, Kodak24, any folder of that layout); nothing to train on."""

from torch.utils.data import Dataset

from sr.data.module import SRDataModule
from sr.runtime.error import UserError


class Benchmark(SRDataModule):
    """`root/NAME/HR/*.png` for each name in `val` and `test`."""

    def build_training_set(self) -> Dataset | None:
        return None

    def build_held_out_set(self, stage: str) -> Dataset:
        raise UserError(f"data.{stage}: data=benchmark has no set of its own; name one of your folders, such as Set5")
