"""Read files with more than 8 bits per channel whose format Pillow decodes with 8: another decoder reads the whole frame."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sr.image.damage import report_damage
from sr.image.file_format import Frame, Header, Window
from sr.image.pillow_file import PillowFile, find_stored_box, turn_upright


class DeepFile(PillowFile):
    """A file whose pixels Pillow decodes if they have 8 bits, and `decode_deep` if they have more."""

    def __init__(self, path: Path, name: str, image: Image.Image) -> None:
        self.path = path
        self.bits = self.find_bits(image)  # per channel
        self._layers: Tensor | None = None  # uint16 [C, H, W] as stored
        super().__init__(path, name, image)

    def find_bits(self, image: Image.Image) -> int:
        """Return the bits per channel. Raise an exception, or `UserError`, if the header is damaged."""
        raise NotImplementedError

    def decode_deep(self) -> np.ndarray:
        """Return the first frame as uint16 `[H, W]` or `[H, W, C]`, its white 2^bits - 1."""
        raise NotImplementedError

    def build_header(self) -> Header:
        """Return the header of the opened image, of which nothing is decoded."""
        header = super().build_header()
        if self.bits <= 8:
            return header
        return header._replace(dtype=torch.uint16, white=float((1 << self.bits) - 1))

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode a frame, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        if self.bits <= 8:
            return super().read(frame, window)
        with report_damage(self.path):
            if self._layers is None:
                self._layers = self._check(self.decode_deep())
            window = window or Window(0, 0, *self.header[:2])
            left, top, width, height = find_stored_box(window, self.orientation, self.image.size)
            part = turn_upright(self._layers[:, top : top + height, left : left + width], self.orientation)
            count = self.header.channels
            return Frame(part[:count].clone(), part[count:].clone() if self.header.has_alpha else None)

    def close(self) -> None:
        """Close the file, and release what was decoded."""
        super().close()
        self._layers = None

    def _check(self, array: np.ndarray) -> Tensor:
        """Return decoded pixels as `[C, H, W]`. Raise `ValueError` if they are not what the header announces."""
        array = array[:, :, None] if array.ndim == 2 else array
        expected = (self.image.height, self.image.width, self.header.channels + self.header.has_alpha)
        if array.shape != expected or array.dtype != np.uint16:
            raise ValueError(f"expected {expected} samples of 16 bits, decoded are {array.shape} of {array.dtype}")
        return torch.from_numpy(array).permute(2, 0, 1)
