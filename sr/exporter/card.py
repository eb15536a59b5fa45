"""The model card of an exported file, `README.md`: what it is, how it is used, and numbers with their protocol."""

import math
import sys
from pathlib import Path
from typing import Any

import yaml

from sr.checkpoint.agreement import Agreement
from sr.checkpoint.load import LoadedNet
from sr.exporter.exporter import Exporter
from sr.exporter.price import Price
from sr.pretrained.networks import Network

MARK = "sr.export ("  # in every card
LIMITS = """It estimates detail that was not recorded: a result is no evidence of what was there. It is not a medical device. On
images unlike those that it was trained on (other degradations, noise, compression), it may be worse than bicubic upscaling."""


def write_card(
    card: Path,
    path: Path,
    exporter: Exporter,
    model: LoadedNet,
    network: Network | None,
    license_name: str | None,
    agreement: Agreement,
    price: Price | None,
) -> None:
    """Write the card of the exported file `path` to `card`."""
    license_name = license_name or (network.license if network else "unknown")
    title = network.name if network else path.stem
    head = {
        "license": license_name.lower() if license_name != "unknown" else "other",
        "pipeline_tag": "image-to-image",
        "library_name": exporter.name,
        "tags": ["super-resolution", f"x{model.scale}"],
    }
    text = f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# {title}\n\n"
    version = sys.modules["sr"].__version__
    text += (
        f"Upscales images ×{model.scale}: {_describe_net(model)}. Written by sr {version}, {MARK}{exporter.name}).\n\n"
    )
    text += f"| | |\n| --- | --- |\n{_format_rows(_list_facts(path, model, network, license_name, agreement, price))}\n"
    numbers = _list_numbers(model, network)
    if numbers:
        text += f"## Numbers\n\n| measured | value |\n| --- | --- |\n{_format_rows(numbers)}\n"
    text += f"## Use\n\n```python\n{exporter.write_usage(path.name, model)}```\n\n"
    if network:
        text += f"Good for: {network.purpose}.\n\n"
    text += f"## Limits\n\n{LIMITS}\n"
    card.write_text(text, encoding="utf-8")


def _describe_net(model: LoadedNet) -> str:
    node = model.config["model"]["net"]
    options = ", ".join(
        f"{key} {value}" for key, value in node.items() if key not in ("_target_", "scale", "channels", "file")
    )
    seen = {"y": "for luma (BT.601; chroma is upscaled bicubically)", "rgb": "for RGB", "gray": "for gray images"}
    name = node["_target_"].rpartition(".")[2]
    return f"{name} {seen.get(model.color, f'for {model.channels} bands')}" + (f" ({options})" if options else "")


def _list_facts(
    path: Path,
    model: LoadedNet,
    network: Network | None,
    license_name: str,
    agreement: Agreement,
    price: Price | None,
) -> dict[str, str]:
    psnr = "equal" if math.isinf(agreement.psnr) else f"{agreement.psnr:.1f} dB"
    checked = (
        f"largest difference {agreement.difference:.1e} of 1, {psnr}, over {agreement.inputs} batches of five sizes"
    )
    return {
        "file": f"{path.name}, {path.stat().st_size / 1e6:.1f} MB",
        "license of the weights": license_name,
        "trained on": _describe_data(model, network),
        "checked against PyTorch": checked,
        **({"PSNR in this precision": str(price)} if price else {}),
        "parameters": f"{sum(weight.numel() for weight in model.net.parameters()):,}",
        "SHA-256 of the checkpoint": model.sha256,
    }


def _describe_data(model: LoadedNet, network: Network | None) -> str:
    data = model.config.get("data", {})
    if not data:
        return "see docs/networks.md of sr" if network else "unknown: the file does not say"
    leaks = f"; {len(model.leaks)} of its images are in evaluation sets" if model.leaks else ""
    return f"{data.get('train') or data.get('_target_', '').rpartition('.')[2]}, {model.step} steps{leaks}"


def _list_numbers(model: LoadedNet, network: Network | None) -> dict[str, str]:
    """Return PSNR and SSIM of the last validation, or those of a network's own card, with their protocol."""
    if network:
        return {f"PSNR of {name}, protocol edsr": f"{value:.2f} dB" for name, value in network.psnr.items()}
    protocol = model.config.get("metric", {})
    about = f"channel {protocol.get('channel')}, border {protocol.get('border')}" if protocol else ""
    numbers = {key: value for key, value in model.metrics.items() if key.endswith(("/psnr", "/ssim"))}
    return {f"{key} ({about})": f"{value:.4f}" for key, value in sorted(numbers.items())}


def _format_rows(rows: dict[str, Any]) -> str:
    return "".join(f"| {key} | {value} |\n" for key, value in rows.items())
