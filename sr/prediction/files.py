"""Pictures in, larger pictures out. Alpha, gray and colour profile are kept, EXIF orientation is applied."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from sr.checkpoint import load as checkpoints
from sr.checkpoint.interpolate import format_label, interpolate_weights
from sr.config.build import select_device
from sr.image.color import rgb_to_gray
from sr.image.read import DecodedImage, list_images, read_image
from sr.image.resize import imresize
from sr.image.write import to_pil, to_uint8, write_png
from sr.inference.memory import report_out_of_memory
from sr.inference.upscale import upscale
from sr.runtime.error import UserError


def upscale_files(
    checkpoint: str,
    input: str,
    output: str,
    overwrite: bool,
    device: str,
    trust: Sequence[str],
    scale: int | None = None,
    ensemble: bool = False,
    tile: int | None = None,
    interpolate: str | None = None,
    alpha: float | None = None,
) -> None:
    """Enlarge a file, or all pictures of a folder; a bad one is named and skipped, and raised at the end.

    With `interpolate`, another file of the same net, by the net between them: `alpha` 1 is the checkpoint, 0 the other.
    """
    for dial, file in (("checkpoint", checkpoint), ("interpolate", interpolate)):
        if str(file).startswith("mlflow:"):
            raise UserError(f"{dial}={file}: expected a file; that run's summary.json says where its own lies")
    there = select_device(device)
    loaded = checkpoints.load_checkpoint(Path(checkpoint).expanduser(), there, trust, scale)
    if interpolate is not None:
        loaded = interpolate_weights(loaded, Path(interpolate).expanduser(), alpha, device=there, trust=trust)
    jobs = _jobs(Path(input).expanduser(), _folder(output), loaded.config["scale"], overwrite)
    faults = []
    for source, target in tqdm(jobs, unit="image", desc="enlarge", disable=len(jobs) == 1):
        try:
            picture = read_image(source)
            pixels, opacity = _enlarged(picture, loaded, source, ensemble, tile)
            same_kind = pixels.shape[0] == picture.pixels.shape[0]
            write_png(target, to_pil(pixels, opacity), picture.icc if same_kind else None)
        except UserError as error:
            faults.append(str(error))
            tqdm.write(f"skipped: {error}", file=sys.stderr)
    if faults:
        count = f"{len(faults)} of {len(jobs)} pictures could not be enlarged:\n" if len(jobs) > 1 else ""
        raise UserError(count + "\n".join(faults))
    way = format_label({"checkpoint": checkpoint, "interpolate": interpolate, "alpha": alpha})
    print(f"{len(jobs)} picture(s) enlarged ×{loaded.config['scale']}{way} into {jobs[0][1].parent}")


@torch.inference_mode()
def _enlarged(
    picture: DecodedImage, loaded: checkpoints.LoadedNet, source: Path, ensemble: bool, tile: int | None
) -> tuple[Tensor, Tensor | None]:
    """uint8 pixels `[1 or 3, s·h, s·w]`, and alpha `[1, s·h, s·w]` enlarged bicubically."""
    color, scale = loaded.config["color"], loaded.config["scale"]
    pixels = picture.pixels
    was_gray = pixels.shape[0] == 1
    if color == "gray":
        pixels = rgb_to_gray(pixels)
    elif was_gray:
        pixels = pixels.expand(3, -1, -1)
    device = next(iter(loaded.net.parameters()), torch.empty(0)).device
    with report_out_of_memory(f"{source}: a picture of {pixels.shape[2]}×{pixels.shape[1]}"):
        lr = pixels[None].to(device).float() / 255
        sr = upscale(loaded.net, lr, color, ensemble, tile)[0]
    if not sr.isfinite().all():
        raise UserError(f"{source}: this net gives NaN or infinity, and no picture; its weights are spoiled")
    result = to_uint8(sr).cpu()
    if was_gray:
        result = rgb_to_gray(result)
    return result, imresize(picture.alpha, scale) if picture.alpha is not None else None


def _jobs(source: Path, folder: Path, scale: int, overwrite: bool) -> list[tuple[Path, Path]]:
    """What becomes what. Nothing is begun when two pictures would get one name, or when files are in the way."""
    if not source.exists():
        raise UserError(f"input={source}: there is no such file or folder")
    sources = list_images(source, "input") if source.is_dir() else [source]
    jobs: dict[Path, Path] = {}
    for path in sources:
        target = folder / f"{path.stem}_x{scale}.png"
        if target in jobs:
            raise UserError(f"{jobs[target].name} and {path.name} would both become {target.name}: rename one")
        jobs[target] = path
    there = [target.name for target in jobs if target.exists()]
    if there and not overwrite:
        raise UserError(f"output={folder}: {', '.join(there[:5])} … is there already; overwrite=true replaces")
    return [(path, target) for target, path in jobs.items()]


def _folder(output: str) -> Path:
    folder = Path(output).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={output}: cannot make this folder ({error.strerror or error})") from None
    return folder
