"""Upscale image files: a file or a folder in, PNG files out.

Alpha, gray and color profile are preserved, EXIF orientation is applied.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from sr.checkpoint.interpolate import format_label, interpolate_weights
from sr.checkpoint.load import LoadedNet
from sr.image.convert import Pixels
from sr.image.listing import list_images
from sr.image.read import read_image
from sr.image.write import to_pil, write_png
from sr.prediction.api import load, upscale_pixels
from sr.runtime.error import UserError
from sr.track.run_address import parse_run_id

MAX_NAMES = 5  # of files in a message


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
    """Upscale the file, or all images of the folder, `input` into the folder `output`.

    An image that cannot be read is reported and skipped; a `UserError` at the end lists all of these. `interpolate` is
    another file of the same net: the net between the two is used, `alpha` 1 is the checkpoint, 0 the other file.
    """
    for option, file in (("checkpoint", checkpoint), ("interpolate", interpolate)):
        if parse_run_id(str(file)) is not None:
            raise UserError(f"{option}={file}: expected a file; the summary.json of that run names its checkpoints")
    model = load(checkpoint, device, trust, scale)
    if interpolate is not None:
        model = interpolate_weights(model, Path(interpolate).expanduser(), alpha, device=model.device, trust=trust)
    jobs = _list_jobs(Path(input).expanduser(), _make_folder(output), model.scale, overwrite)
    errors = []
    for source, target in tqdm(jobs, unit="image", desc="upscale", disable=len(jobs) == 1):
        try:
            _upscale_file(model, source, target, ensemble, tile)
        except UserError as error:
            errors.append(str(error))
            tqdm.write(f"skipped: {error}", file=sys.stderr)
    if errors:
        count = f"{len(errors)} of {len(jobs)} images could not be upscaled:\n" if len(jobs) > 1 else ""
        raise UserError(count + "\n".join(errors))
    label = format_label({"checkpoint": checkpoint, "interpolate": interpolate, "alpha": alpha})
    print(f"{len(jobs)} image(s) upscaled ×{model.scale}{label} into {jobs[0][1].parent}")


def _upscale_file(model: LoadedNet, source: Path, target: Path, ensemble: bool, tile: int | None) -> None:
    image = read_image(source)
    result = upscale_pixels(model, Pixels(image.pixels[None], image.alpha), ensemble, tile, str(source))
    pixels = result.color[0]
    has_same_channels = pixels.shape[0] == image.pixels.shape[0]  # a profile of RGB does not fit gray
    write_png(target, to_pil(pixels, result.alpha), image.icc if has_same_channels else None)


def _list_jobs(source: Path, folder: Path, scale: int, overwrite: bool) -> list[tuple[Path, Path]]:
    """Return each input file with its output file.

    Raise before anything is written if two images would get one name, or if files exist and `overwrite` is false.
    """
    if not source.exists():
        raise UserError(f"input={source}: there is no such file or folder")
    sources = list_images(source, "input") if source.is_dir() else [source]
    jobs: dict[Path, Path] = {}
    for path in sources:
        target = folder / f"{path.stem}_x{scale}.png"
        if target in jobs:
            raise UserError(f"{jobs[target].name} and {path.name} would both become {target.name}: rename one")
        jobs[target] = path
    existing = [target.name for target in jobs if target.exists()]
    if existing and not overwrite:
        names = ", ".join(existing[:MAX_NAMES])
        raise UserError(f"output={folder}: {names} … exists already; overwrite=true replaces it")
    return [(path, target) for target, path in jobs.items()]


def _make_folder(output: str) -> Path:
    folder = Path(output).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={output}: cannot create this folder ({error.strerror or error})") from None
    return folder
