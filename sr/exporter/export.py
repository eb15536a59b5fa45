"""`sr.export`: write a network in another format, check it, and describe it."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sr.checkpoint.interpolate import interpolate_weights
from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.config.build import build_part
from sr.exporter.card import MARK, write_card
from sr.exporter.exporter import Exporter
from sr.exporter.verification import measure_agreement, require_agreement, require_price
from sr.net.onnx import OnnxNet
from sr.pretrained.networks import find_network
from sr.runtime.error import UserError
from sr.track.run_address import parse_model
from sr.track.stored_checkpoint import find_file

CARD = "README.md"


def export_network(config: dict[str, Any], format_name: str) -> Path:
    """Export the network of `config.checkpoint`; return the path of the file, which agrees with PyTorch."""
    exporter: Exporter = build_part(config["exporter"], "exporter")
    path = choose_path(config["checkpoint"], config["output"], format_name, exporter.suffix)
    card = choose_card(path)
    for file in (path, card):
        if file.exists() and not config["overwrite"]:
            raise UserError(f"output={config['output'] or path.parent}: {file} exists; overwrite=true replaces it")
    model = _load(config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"output={config['output'] or path.parent}: cannot be written ({error.strerror or error})"
        ) from None
    print(f"exporting to {exporter.name} (deep networks take a minute or two) …", flush=True)
    with _replace_file(path) as draft:
        exporter.write(model, draft)
        print("checking it against PyTorch …", flush=True)
        agreement = measure_agreement(exporter, model, draft)
        require_agreement(exporter, agreement)
        price = exporter.measure_price(model, draft)
        require_price(price)
    write_card(card, path, exporter, model, find_network(config["checkpoint"]), config["license"], agreement, price)
    psnr = "equal to PyTorch" if math.isinf(agreement.psnr) else f"{agreement.psnr:.1f} dB against PyTorch"
    print(
        f"{path} ({path.stat().st_size / 1e6:.1f} MB) and {card.name}: largest difference {agreement.difference:.1e}, {psnr}, "
        f"{agreement.inputs} batches of five sizes"
    )
    if price:
        print(f"the lower precision: PSNR {price}")
    return path


def choose_path(checkpoint: str, output: str | None, format_name: str, suffix: str) -> Path:
    """Return the path of the exported file: `output` is the file itself, or a folder for it."""
    model = parse_model(checkpoint)
    stem = f"{model.name}_{model.alias or model.version}" if model else Path(checkpoint.replace(":", "_")).stem
    if stem in ("best", "last") and Path(checkpoint).parent.name:
        stem = Path(checkpoint).parent.name  # the run's folder says more
    folder = Path(output or f"{stem}_{format_name}").expanduser()
    if folder.suffix == suffix:
        return folder
    if folder.suffix and not folder.is_dir():
        raise UserError(f"output={output}: expected a folder or a file {suffix}, which exporter={format_name} writes")
    return folder / f"{stem}{suffix}"


def choose_card(path: Path) -> Path:
    """Return the path of the model card: `README.md`, or `NAME.md` next to a `README.md` that is no card of sr.export."""
    card = path.parent / CARD
    if card.exists() and MARK not in card.read_text(encoding="utf-8", errors="replace"):
        return path.with_suffix(".md")
    return card


def _load(config: dict[str, Any]) -> LoadedNet:
    checkpoint, options = config["checkpoint"], {"trust": config["trust"]}
    model = load_checkpoint(find_file("checkpoint", checkpoint), scale=config["scale"], **options)
    if isinstance(model.net, OnnxNet):
        raise UserError(f"checkpoint={checkpoint}: expected weights (found a graph, which is exported already)")
    if config["interpolate"] is None:
        return model
    return interpolate_weights(model, find_file("interpolate", config["interpolate"]), config["alpha"], **options)


@contextlib.contextmanager
def _replace_file(path: Path) -> Iterator[Path]:
    """Yield the path of a draft, which becomes `path` at the end, or is removed if that is not reached."""
    draft = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
