"""Check an exported file before it is released: images of several sizes and batches, against PyTorch."""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sr.checkpoint.load import LoadedNet
from sr.exporter.exporter import Exporter
from sr.exporter.graph import ImageGraph
from sr.exporter.price import Price
from sr.runtime.error import UserError

MAX_PRICE = 1.0  # dB of PSNR that a lower precision may cost


class Agreement(NamedTuple):
    """The differences between an exported file and PyTorch."""

    difference: (
        float  # the largest, in terms of the output's largest value if that is above 1; infinite if a size is wrong
    )
    psnr: float  # of all outputs, in dB, with PyTorch's as the reference; infinite if they are equal
    worst: str  # the input with the largest difference
    inputs: int


class ExportError(Exception):
    """An exported file does not compute what PyTorch computes; a command exits with 3."""


@torch.no_grad()
def measure_agreement(exporter: Exporter, model: LoadedNet, path: Path) -> Agreement:
    """Compare the file with the loaded net; all inputs are natural in range, not in content: uniform noise."""
    reference = ImageGraph(model.net.cpu(), model.color).eval()
    exported = exporter.load(path)
    random = torch.Generator().manual_seed(0)
    difference, squares, count, worst = 0.0, 0.0, 0, ""
    for h, w in exporter.list_sides(model.net):
        for b in exporter.batches:
            lr = torch.randint(0, 256, (b, reference.channels, h, w), generator=random) / 255
            expected, found = reference(lr), _run(exported, lr)
            if found is None or found.shape != expected.shape or not found.isfinite().all():
                return Agreement(math.inf, 0.0, f"{b} images of {w}×{h}", count)
            if getattr(exporter, "dtype", "float32") == "uint8":
                expected = (expected.clamp(0, 1) * 255 + 0.5).floor() / 255
            error = (found.double() - expected.double()).abs()
            # Of noise, some nets make values of 5 and more. The rounding of float32 grows with them.
            largest = float(error.max()) / max(1.0, float(expected.abs().max()))
            if largest >= difference:
                difference, worst = largest, f"{b} images of {w}×{h}"
            squares += float(error.square().mean())
            count += 1
    psnr = math.inf if squares == 0 else -10 * math.log10(squares / count)
    return Agreement(difference, psnr, worst, count)


def require_agreement(exporter: Exporter, agreement: Agreement) -> None:
    """Raise unless the differences are errors of rounding."""
    if agreement.difference > exporter.tolerance:
        found = "fails" if math.isinf(agreement.difference) else f"differs by {agreement.difference:.1e}"
        raise ExportError(
            f"the exported file {found} for {agreement.worst} (at most {exporter.tolerance:.0e} is allowed); nothing was "
            "written. PyTorch's exporter reports success for some nets whose graph holds for one size only"
        )


def require_price(price: Price | None) -> None:
    """Raise if a lower precision costs more than `MAX_PRICE`."""
    if price and not price.exact - price.found <= MAX_PRICE:
        raise ExportError(
            f"exporter.precision: expected a loss of at most {MAX_PRICE} dB (found PSNR {price}); nothing was written. "
            "Calibrate with images like those of your use (exporter.calibration=FOLDER), or take fp16 or fp32"
        )


def _run(net: nn.Module, lr: Tensor) -> Tensor | None:
    """Return the output; None if the file fails for this input."""
    try:
        return net(lr)
    except (UserError, RuntimeError):
        return None
