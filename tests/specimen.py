"""Synthetic images and weight files, and a short training, that tests share."""

import importlib.util
import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pytorch_lightning import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sr.image.batch import MetricInput, Pair
from sr.image.color import rgb_to_luma
from sr.image.resize import imresize
from sr.model.module import SRModule
from sr.pretrained.backbone import PUBLISHED, vgg
from sr.trainer.default import Trainer


def levels(*shape: int, seed: int = 0) -> Tensor:
    """Return random 8-bit levels, float32."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).float()


@lru_cache
def other_device() -> str | None:
    """Return a GPU, or the device of torch_xla if that is installed: on the CPU too, with a compiler of its own."""
    if torch.accelerator.is_available():
        return torch.accelerator.current_accelerator().type
    if not importlib.util.find_spec("torch_xla"):
        return None
    xla = importlib.import_module("torch_xla")
    xla.experimental.eager_mode(True)  # in lazy mode an image's SSIM becomes a graph too deep for its stack
    return str(xla.device())


def see(batch: int, height: int, width: int, scale: int = 2, channels: int = 3, device: str = "cpu") -> MetricInput:
    """Return random images and a result not too far from them."""
    hr = levels(batch, channels, height, width).double().to(device)
    sr = (0.8 * hr + 0.2 * levels(batch, channels, height, width, seed=1).to(device)).round()
    lr = imresize(hr.to(torch.uint8), 1 / scale).float() / 255
    x, y = ((rgb_to_luma(i / 255) * 255 if channels == 3 else i)[..., scale:-scale, scale:-scale] for i in (sr, hr))
    return MetricInput(x, y, sr / 255, hr / 255, lr)


def weight_files(folder: Path) -> dict[str, Path]:
    """Write a random AlexNet and VGG16 in the layout of torchvision's files: `{"alex": …, "vgg": …}`."""
    torch.manual_seed(0)
    return {name: published_as(folder / f"{name}.pth", PUBLISHED[name].build()) for name in ("alex", "vgg")}


def slim_vgg(folder: Path, counts: tuple[int, ...] = (2, 2, 4, 4, 4), width: int = 6) -> Path:
    """Write a narrow VGG-19, or one with `counts` convolutions per stage; random weights whose signal reaches the last layer."""
    torch.manual_seed(0)
    net = vgg([[width] * count for count in counts])
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return published_as(folder / "slim.pth", net)


def published_as(path: Path, net: nn.Sequential) -> Path:
    """Write a file in the layout of torchvision's, with a classifier after the layers."""
    state = {f"features.{key}": value for key, value in net.state_dict().items()}
    torch.save(state | {"classifier.1.weight": torch.rand(3, 3)}, path)
    return path


def features(name: str, path: Path) -> nn.Sequential:
    """Load the network of such a file without `sr.pretrained`."""
    net = PUBLISHED[name].build()
    state = torch.load(path, weights_only=True)
    net.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("features.")})
    return net


def jpeg(image: Image.Image, quality: int = 50) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def matlab(scale: int) -> Callable[[Any], Any]:
    from sr.image.resize import imresize

    return lambda hr: imresize(hr, 1 / scale)


class After(Callback):
    """A callback that calls a function after each batch."""

    def __init__(self, look: Callable[[SRModule], None]) -> None:
        self.look = look

    def on_train_batch_end(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        self.look(module)


def fit(
    module: SRModule, steps: int, data: list[Pair], *callbacks: Callback, ckpt_path: Path | None = None, **options: Any
) -> Trainer:
    """Train on these batches alone, on the CPU, without validation, checkpoints or output; resume from `ckpt_path`."""
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, callbacks=list(callbacks), **options,
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, batch_size=None), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def weights(net: nn.Module) -> Tensor:
    """Return a copy of all weights as one vector."""
    return torch.cat([p.detach().flatten() for p in net.parameters()]).clone()
