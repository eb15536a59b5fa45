"""Convert pixels of any depth to a net's input, and a net's output to pixels of any depth."""

import torch
from torch import Tensor

from sr.checkpoint.load import LoadedNet
from sr.image.color import GRAY_WEIGHTS, rgb_to_gray
from sr.image.file_format import Frame, Header
from sr.image.resize import imresize_rows
from sr.runtime.error import UserError


def require_bands(model: LoadedNet, source: Header, name: str) -> None:
    """Raise `UserError` if a network of several bands does not fit an image."""
    if model.color == "bands" and source.channels != model.channels:
        raise UserError(
            f"{name}: expected {model.channels} bands, which this network upscales together (found {source.channels}); "
            f"choose them: bands=[{','.join(str(k + 1) for k in range(model.channels))}]"
        )


class Levels:
    """Converts the pixels of one image to a net's input, and the net's output to the pixels of the result."""

    def __init__(self, model: LoadedNet, source: Header, result: Header, name: str) -> None:
        self.model, self.source, self.result, self.name = model, source, result, name
        self.lr_size = (source.height, source.width)
        self.net_size = (model.scale * source.height, model.scale * source.width)  # of the net's output
        # True: each band is a gray image for the network. A GeoTIFF has its bands in its result, whatever the network.
        self.has_bands = model.color != "bands" and (
            source.channels != 3 or (model.color == "gray" and result.channels == 3)
        )

    def prepare(self, pixels: Tensor) -> Tensor:
        """Return the net's input, `[B, C, h, w]` in 0…1 or uint8, of `[channels, h, w]`: each band is a gray image."""
        lr = pixels[:, None] if self.has_bands else pixels[None]
        if not (lr.dtype == torch.uint8 and (self.source.black, self.source.white) == (0, 255)):
            is_exact = lr.is_floating_point() and self.model.device.type != "mps"  # which has no float64
            lr = self._normalize(lr, torch.float64 if is_exact else torch.float32)
        if self.model.color == "gray":
            lr = rgb_to_gray(lr)
        elif lr.shape[1] == 1 and self.model.color != "bands":
            lr = lr.expand(-1, 3, -1, -1)
        return lr.to(self.model.device)

    def finish(self, sr: Tensor) -> Tensor:
        """Return the pixels `[channels, H, W]` of the result of a part of the net's output."""
        if self.has_bands and sr.shape[1] == 3:
            # Gray of levels, as everywhere, where these are 8-bit ones.
            is_8_bit = self.result.dtype == torch.uint8
            sr = rgb_to_gray(self.round(sr)) if is_8_bit else self.round(_merge_channels(sr))
            return sr[:, 0].cpu()
        return self.select_channels(self.round(sr)).cpu()

    def clamp(self, sr: Tensor) -> Tensor:
        """Limit a net's output to 0…1 if the result is, before it is resized."""
        return sr.clamp(0, 1) if self.result.is_limited and not self.result.dtype.is_floating_point else sr

    def select_channels(self, sr: Tensor) -> Tensor:
        """Return `[channels, H, W]` of a net's output in 0…1."""
        if not self.has_bands:
            return sr[0]
        return _merge_channels(sr)[:, 0]

    def upscale_alpha(self, alpha: Tensor, first: int, rows: range) -> Tensor:
        """Return rows of the alpha channel, upscaled bicubically to the net's size, in the result's range.

        `alpha` `[1, h, w]` are the rows of the source from `first` on.
        """
        if alpha.dtype == self.result.dtype == torch.uint8:
            return imresize_rows(alpha, first, self.source.height, self.net_size, rows)
        return self.round(self.upscale_float_alpha(alpha, first, rows))

    def upscale_float_alpha(self, alpha: Tensor, first: int, rows: range) -> Tensor:
        """Return the rows in 0…1, float64."""
        values = self._normalize(alpha, torch.float64)
        return imresize_rows(values, first, self.source.height, self.net_size, rows).clamp(0, 1)

    def round(self, sr: Tensor) -> Tensor:
        """Convert 0…1 to the result's range: integers are clamped and rounded half up, floats are left as they are."""
        black, white, dtype = self.result.black, self.result.white, self.result.dtype
        levels = sr * (white - black)
        levels = levels + black if black else levels
        if dtype.is_floating_point:
            return levels.to(dtype)
        lowest, highest = 0, torch.iinfo(dtype).max
        if self.result.is_limited:
            lowest, highest = max(min(black, white), lowest), min(max(black, white), highest)
        return levels.add_(0.5).clamp_(lowest, highest).to(dtype)

    def apply_mask(self, frame: Frame) -> Frame:
        """Return a frame of the result. If its format holds no mask, samples that are no data are black, and transparent."""
        if self.result.has_mask:
            return frame
        valid = frame.valid
        if len(valid) not in (1, len(frame.pixels)):  # gray of color
            valid = valid.all(dim=0, keepdim=True)
        black, white = (torch.tensor(value).to(frame.pixels.dtype) for value in (self.result.black, self.result.white))
        pixels = torch.where(valid, frame.pixels, black)
        has_data = valid.any(dim=0, keepdim=True)
        return Frame(pixels, torch.where(has_data, white, torch.zeros_like(white)) if self.result.has_alpha else None)

    def check(self, sr: Tensor) -> None:
        """Raise `UserError` if the net's output, or already the file, has NaN or infinite numbers."""
        if not sr.sum().isfinite() and not sr.isfinite().all():  # a sum needs no second image, but may overflow
            raise UserError(f"{self.name}: the net's output is NaN or infinite; its weights are damaged")

    def _normalize(self, levels: Tensor, dtype: torch.dtype) -> Tensor:
        values = (levels.to(dtype) - self.source.black) / (self.source.white - self.source.black)
        if levels.is_floating_point() and not values.isfinite().all():
            raise UserError(f"{self.name}: expected numbers (found NaN or infinity among its pixels); replace them")
        return values


def _merge_channels(sr: Tensor) -> Tensor:
    """Return gray of the result of a gray image: the weights, whose sum is 0.9999, would make 16 bits darker by 7 levels."""
    return sr if sr.shape[-3] == 1 else rgb_to_gray(sr) / sum(GRAY_WEIGHTS)
