"""Made-up pictures and weight files that tests share."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from sr.color import luma
from sr.degrade.resize import imresize
from sr.metric.backbone import PUBLISHED
from sr.pair import Seen


def levels(*shape: int, seed: int = 0) -> Tensor:
    """Random 8-bit levels, float32."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).float()


def see(batch: int, height: int, width: int, scale: int = 2, channels: int = 3, device: str = "cpu") -> Seen:
    """Random pictures and a result not too far from them."""
    hr = levels(batch, channels, height, width).double().to(device)
    sr = (0.8 * hr + 0.2 * levels(batch, channels, height, width, seed=1).to(device)).round()
    lr = imresize(hr.to(torch.uint8), 1 / scale).float() / 255
    x, y = ((luma(i / 255) * 255 if channels == 3 else i)[..., scale:-scale, scale:-scale] for i in (sr, hr))
    return Seen(x, y, sr / 255, hr / 255, lr)


def weight_files(folder: Path) -> dict[str, Path]:
    """Random AlexNet and VGG16 in the layout of torchvision's files: `{"alex": …, "vgg": …}`."""
    torch.manual_seed(0)
    for name, published in PUBLISHED.items():
        state = {f"features.{key}": value for key, value in published.build().state_dict().items()}
        torch.save(state | {"classifier.1.weight": torch.rand(3, 3)}, folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in PUBLISHED}


def features(name: str, path: Path) -> nn.Sequential:
    """The network of such a file, without our way of loading it."""
    net = PUBLISHED[name].build()
    state = torch.load(path, weights_only=True)
    net.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("features.")})
    return net


def jpeg(image: Image.Image, quality: int = 50) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def matlab(scale: int) -> Callable[[Any], Any]:
    from sr.degrade.resize import imresize

    return lambda hr: imresize(hr, 1 / scale)
