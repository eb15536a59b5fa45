"""Sample pictures: LR | bicubic | SR | HR in one panel, with the PSNR of what is seen written under each."""

import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from sr.degrade.resize import imresize
from sr.image.write import to_bytes, to_pil
from sr.metric.protocol import Protocol
from sr.model.module import Shown, SRModule
from sr.track.none import Nothing

CROP = 96  # HR pixels, at most
TILE = 192  # screen pixels that a tile should have, at least
GAP, CAPTION = 4, 22  # screen pixels


class Panels(Callback):
    """The first `track.panels` pictures of each set at every validation and test, always the same crop of each."""

    def __init__(self, track: Nothing) -> None:
        self.track = track

    def on_validation_batch_end(
        self, trainer: Trainer, module: SRModule, shown: Shown, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._show("val", trainer, module, shown, batch_idx, dataloader_idx)

    def on_test_batch_end(
        self, trainer: Trainer, module: SRModule, shown: Shown, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._show("test", trainer, module, shown, batch_idx, dataloader_idx)

    def _show(
        self, part: str, trainer: Trainer, module: SRModule, shown: Shown, batch_idx: int, set_index: int
    ) -> None:
        data = trainer.datamodule
        chosen = data.eval_sets[part][set_index]
        first = batch_idx * getattr(chosen, "batch", 1)
        for k in range(min(len(shown.hr), max(0, self.track.panels - first))):
            one = Shown(*(image[k : k + 1] for image in shown))
            key = f"{part}/{data.set_name(part, set_index)}/{chosen.names[first + k]}"
            self.track.image(key, panel(one, module.metric), trainer.global_step)


def panel(shown: Shown, protocol: Protocol, crop: int = CROP) -> Image.Image:
    """One picture, `[1, C, H, W]` each, as a panel. Its crop is where bicubic errs most: the same for every net."""
    lr, sr, hr = (image.detach().float().cpu() for image in shown)
    s = hr.shape[-1] // lr.shape[-1]
    guess = imresize(lr, size=tuple(hr.shape[-2:]))
    side = min(crop, *hr.shape[-2:]) // s * s
    top, left = _hardest(guess, hr, side, s)
    cut = [image[..., top : top + side, left : left + side] for image in (guess, sr, hr)]
    small = lr[..., top // s : (top + side) // s, left // s : (left + side) // s]
    zoom = max(1, -(-TILE // side))  # whole pixels only
    captions = [f"LR {side // s}×{side // s}"]
    captions += [
        f"{name} {_psnr(protocol, image, cut[2])}" for name, image in zip(("bicubic", "SR"), cut, strict=False)
    ]
    tiles = [_enlarged(small, zoom * s), *(_enlarged(image, zoom) for image in cut)]
    return _side_by_side(tiles, [*captions, "HR"])


def _psnr(protocol: Protocol, sr: Tensor, hr: Tensor) -> str:
    if min(sr.shape[-2:]) < 11 + 2 * protocol.scale:
        return ""
    return f"{protocol(sr, hr)['psnr'].item():.2f} dB"


def _hardest(guess: Tensor, hr: Tensor, side: int, scale: int) -> tuple[int, int]:
    """Top and left of the `side`×`side` window with the largest error of bicubic, on LR's pixel grid."""
    stride = max(scale, side // 4 // scale * scale)
    error = F.avg_pool2d((guess - hr).abs().mean(dim=1, keepdim=True), side, stride)[0, 0]
    row, column = divmod(int(error.argmax()), error.shape[1])
    return row * stride, column * stride


def _enlarged(image: Tensor, zoom: int) -> Image.Image:
    pixels = to_bytes(image[0])
    return to_pil(pixels.repeat_interleave(zoom, dim=-2).repeat_interleave(zoom, dim=-1)).convert("RGB")


def _side_by_side(tiles: list[Image.Image], captions: list[str]) -> Image.Image:
    width, height = tiles[0].size
    sheet = Image.new("RGB", (len(tiles) * (width + GAP) - GAP, height + CAPTION), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for k, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        sheet.paste(tile, (k * (width + GAP), 0))
        draw.text((k * (width + GAP) + width // 2, height + 3), caption, fill="black", font=font, anchor="ma")
    return sheet
