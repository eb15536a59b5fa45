"""Check an exported file before it is released: images of several sizes and batches, against PyTorch."""

import math
from pathlib import Path

from sr.checkpoint.agreement import Agreement, compare_nets
from sr.checkpoint.graph import ImageGraph
from sr.checkpoint.load import LoadedNet
from sr.exporter.exporter import Exporter
from sr.exporter.price import Price

MAX_PRICE = 1.0  # dB of PSNR that a lower precision may cost


class ExportError(Exception):
    """An exported file does not compute what PyTorch computes; a command exits with 3."""


def measure_agreement(exporter: Exporter, model: LoadedNet, path: Path) -> Agreement:
    """Compare the file with the loaded net."""
    reference = ImageGraph(model.net.cpu(), model.color).eval()
    is_uint8 = getattr(exporter, "dtype", "float32") == "uint8"
    sides = exporter.list_sides(model.net)
    return compare_nets(reference, exporter.load(path), reference.channels, sides, exporter.batches, is_uint8)


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
