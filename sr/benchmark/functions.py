"""Our imresize, degradation, PSNR and SSIM, and cache against what the field calls for the same, in turns.

Each pair is first made to agree: a faster answer to another question would be no win.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.transform import resize
from torch import Tensor

from sr.config import schema
from sr.config.build import build_part
from sr.data.cache import Cache
from sr.data.image_set import ImageSet
from sr.data.patches import PatchDraw, Patches
from sr.data.sample import NAMES
from sr.degrade.chain import Chain
from sr.image.resize import imresize
from sr.metric.psnr import psnr
from sr.metric.ssim import ssim
from sr.runtime.error import UserError

LEAST = 0.05  # seconds of a turn: calls that take less are repeated
SKIMAGE = "scikit-image resize(order=3, anti_aliasing=True), image by image"
LOOP = "MATLAB's imresize in NumPy, a loop over output lines, image by image"
DECODING = "a Dataset that opens each PNG with Pillow for each crop, and stacks the crops"
CROPS, SIDE = 16, 96  # of a batch, and HR pixels
SKIMAGE_METRIC = "scikit-image structural_similarity (same Gaussian window) and peak_signal_noise_ratio"
LOADERS = (
    "the same steps with the same numbers drawn, image by image in {} processes: OpenCV, NumPy's noise, OpenCV's JPEG"
)


class Race(NamedTuple):
    """Two ways to the same result."""

    name: str
    ours: Callable[[], Any]
    rival: Callable[[], Any]
    count: int  # things that one call handles
    unit: str  # of the rate: things per second
    rival_is: str


def resizing() -> Iterator[Race]:
    """Sixteen HR crops, once to a quarter and once to half."""
    hr = torch.randint(0, 256, (16, 3, 192, 192), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = list(hr.permute(0, 2, 3, 1).contiguous().numpy())  # as scikit-image wants them: [H, W, 3]
    for part in (4, 2):
        side = 192 // part
        looped = np.stack([matlab_imresize(image, 1 / part) for image in images])
        if not np.array_equal(imresize(hr, 1 / part).permute(0, 2, 3, 1).numpy(), looped):
            raise AssertionError("our imresize and the NumPy loop differ")

        def ours(part: int = part) -> Tensor:
            return imresize(hr, 1 / part)

        def skimage(side: int = side) -> list[NDArray]:
            return [resize(image, (side, side), order=3, anti_aliasing=True, preserve_range=True) for image in images]

        def loop(part: int = part) -> list[NDArray]:
            return [matlab_imresize(image, 1 / part) for image in images]

        name = f"imresize ×1/{part}, 16 crops of 192×192"
        yield Race(name, ours, skimage, 16, "images/s", SKIMAGE)
        yield Race(name, ours, loop, 16, "images/s", LOOP)


def measuring() -> Iterator[Race]:
    """PSNR and SSIM of the lumas of one 1280×720 picture and its noisy twin."""
    chance = torch.Generator().manual_seed(0)
    hr = torch.randint(0, 256, (1, 1, 720, 1280), generator=chance).double()
    sr = (hr + 10 * torch.randn(hr.shape, generator=chance)).round().clamp(0, 255)
    x, y = sr[0, 0].numpy(), hr[0, 0].numpy()

    def ours() -> tuple[Tensor, Tensor]:
        return psnr(sr, hr), ssim(sr, hr)

    def skimage() -> tuple[float, float]:
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        return peak_signal_noise_ratio(y, x, data_range=255), structural_similarity(x, y, data_range=255, **window)

    if not np.allclose([value.item() for value in ours()], skimage(), rtol=0, atol=1e-6):
        raise AssertionError("our PSNR or SSIM and scikit-image's differ")
    yield Race("PSNR and SSIM, one pair of 1280×720", ours, skimage, 1, "pairs/s", SKIMAGE_METRIC)


def cropping() -> Iterator[Race]:
    """Batches of crops of scikit-image's photographs as PNGs, and of the same cut into pieces of T91's usual size.

    Either side works on one core, and gives the same crops.
    """
    import skimage

    where = Path(skimage.__file__).parent / "data"
    with tempfile.TemporaryDirectory() as folder:
        for most in (0, 256):
            files = [_png(where / name, Path(folder) / f"{most or 'whole'}", most) for name in NAMES["train"]]
            pictures = ImageSet(files, 2, memory=0, cache=Cache(Path(folder) / "cache", math.inf))
            pictures.load()
            chance = np.random.default_rng(0)
            index, place = chance.permutation(np.resize(np.arange(len(files)), CROPS)), chance.random((CROPS, 2))
            draw, patches = PatchDraw(index, place, np.zeros(CROPS, np.uint8)), Patches(pictures, SIDE)

            def ours(patches: Patches = patches, draw: PatchDraw = draw) -> Tensor:
                return patches[draw].hr

            def decoding(files: list[Path] = files, draw: PatchDraw = draw) -> Tensor:
                crops = [_decoded(files[k], *corner) for k, corner in zip(draw.index, draw.place, strict=True)]
                return torch.stack(crops)

            if not torch.equal(ours(), decoding()):
                raise AssertionError("crops from the cache and from the files differ")
            size = f"pictures of {most}×{most}" if most else "photographs"
            yield Race(
                f"cache, batch of {CROPS} crops of {SIDE}×{SIDE}, {size}", ours, decoding, CROPS, "crops/s", DECODING
            )


def degrading() -> Iterator[Race]:
    """Sixteen crops of photographs through `data/degrade=real`. We draw and degrade; the rivals are told what to do."""
    import skimage

    try:
        from sr.benchmark import opencv
    except ImportError:
        raise UserError("parts=[degrade] needs OpenCV: pip install 'sr[dev]', or leave degrade out of parts") from None
    where, side, scale = Path(skimage.__file__).parent / "data", 256, 4
    photos = [np.array(Image.open(where / name).convert("RGB"))[:side, :side] for name in NAMES["train"]]
    images = [photo for photo in photos if photo.shape[:2] == (side, side)]
    images = [np.ascontiguousarray(images[k % len(images)][:, :: 1 - 2 * (k // 8)]) for k in range(16)]
    hr = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    node = OmegaConf.load(schema.find_conf_dir() / "data/degrade/real.yaml")
    chain = build_part(
        OmegaConf.to_container(OmegaConf.merge({"scale": scale}, {"it": node}), resolve=True)["it"], "it"
    )
    turns = [list(range(k, k + 16)) for k in range(0, 16 * 8, 16)]  # of seeds, one after the other
    jobs = [[(k, _told(chain, seed, side, side // scale)) for k, seed in enumerate(seeds)] for seeds in turns]
    left = {"ours": 0, "rival": 0}

    def turn(who: str) -> int:
        left[who] = (left[who] + 1) % len(turns)
        return left[who]

    with opencv.workers([image[:, :, ::-1].copy() for image in images], count := torch.get_num_threads()) as pool:
        _check_agreement(chain, hr, jobs[0], lambda some: pool.map(opencv.degraded, some))

        def ours() -> Tensor:
            return chain(hr, torch.tensor(turns[turn("ours")]))

        def rival() -> list[NDArray]:
            return pool.map(opencv.degraded, jobs[turn("rival")], chunksize=1)

        name = "degrade=real, 16 images of 256×256 to 64×64"
        yield Race(name, ours, rival, len(images), "images/s", LOADERS.format(count))


def _told(chain: Chain, seed: int, side: int, end: int) -> list[tuple[str, Any]]:
    """The steps that `chain` draws for a seed, as `sr.benchmark.opencv` takes them."""
    told: list[tuple[str, Any]] = []
    size = (side, side)
    for op, draw in chain.steps.plan(np.random.default_rng(seed)):
        match type(op).__name__:
            case "Blur" | "Sinc":
                told.append(("blur", (draw.float().numpy(),)))
            case "Resample":
                before, size = size, op.output_size(draw, size, (end, end))
                told += [("resize", (size, draw.kernel))] * (before != size)
            case "Jpeg":
                told.append(("jpeg", (draw,)))
            case name:
                told.append((name.lower(), (draw.strength, draw.gray, draw.seed)))
    return told


def _check_agreement(chain: Chain, hr: Tensor, jobs: list, run: Callable[[list], list[NDArray]]) -> None:
    """Without noise, which nobody draws alike, and without `area`, which is of whole pixels in PyTorch alone."""
    quiet = [(k, [step for step in steps if step[0] not in ("gaussian", "poisson")]) for k, steps in jobs]
    quiet = [
        (k, steps) for k, steps in quiet if not any(step[1][-1] == "area" for step in steps if step[0] == "resize")
    ]
    theirs = torch.from_numpy(np.stack(run(quiet))).permute(0, 3, 1, 2).flip(1)
    size = tuple(n // chain.scale for n in hr.shape[-2:])
    plans = [chain.steps.plan(np.random.default_rng(k)) for k, _ in quiet]
    plans = [[step for step in plan if not hasattr(step.parameters, "strength")] for plan in plans]
    ours = torch.stack([chain.apply_plans([hr[k]], [plan], size)[0] for (k, _), plan in zip(quiet, plans, strict=True)])
    if not quiet or (gap := (ours.float() - theirs.float()).abs().mean()) > 1:
        raise AssertionError(f"our chain and OpenCV's differ by {gap:.1f} levels")


RACES = {"degrade": degrading, "imresize": resizing, "metric": measuring, "cache": cropping}


def rows(part: str, rounds: int, threads: int) -> list[dict[str, Any]]:
    """The races of a part, with the rate of each round, on `threads` threads of PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return [_run(race, rounds) for race in RACES[part]()]
    finally:
        torch.set_num_threads(before)


def _run(race: Race, rounds: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {"ours": [], "rival": []}
    sides = {"ours": race.ours, "rival": race.rival}
    repeats = {side: math.ceil(LEAST / min(_seconds(call, 1) for _ in range(3))) for side, call in sides.items()}
    for k in range(rounds):
        for side in sides if k % 2 == 0 else reversed(sides):
            times[side].append(race.count / _seconds(sides[side], repeats[side]))
    return {"name": race.name, **times, "unit": race.unit, "rival_is": race.rival_is}


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    """Of one call, from so many in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def _png(photo: Path, folder: Path, most: int) -> Path:
    """The photograph as a PNG, of even size; at most `most` pixels a side, unless that is 0."""
    folder.mkdir(exist_ok=True)
    with Image.open(photo) as image:
        w, h = (min(side - side % 2, most or side) for side in image.size)
        image.convert("RGB").crop((0, 0, w, h)).save(folder / f"{photo.stem}.png")
    return folder / f"{photo.stem}.png"


def _decoded(file: Path, down: float, right: float) -> Tensor:
    """uint8 `[3, SIDE, SIDE]`, whose corner is at a whole LR pixel (×2)."""
    with Image.open(file) as image:
        pixels = np.array(image.convert("RGB"))
    top, left = (2 * int(u * ((n - SIDE) // 2 + 1)) for u, n in zip((down, right), pixels.shape[:2], strict=True))
    return torch.from_numpy(pixels[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1).copy())


def matlab_imresize(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """MATLAB's bicubic `imresize` as it is usually written in NumPy: uint8 `[H, W, C]`, rounded after each pass."""
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, 0).astype(np.float64)
        weight, index = _contributions(len(lines), math.ceil(scale * len(lines)), scale)
        out = np.empty((len(weight), *lines.shape[1:]))
        for k in range(len(weight)):
            out[k] = np.tensordot(weight[k], lines[index[k]], axes=1)
        image = np.moveaxis(np.clip(np.floor(out + 0.5), 0, 255).astype(np.uint8), 0, axis)
    return image


def _contributions(n_in: int, n_out: int, scale: float) -> tuple[NDArray, NDArray]:
    """For each output line the weights and the mirrored indices of the input lines, as in MATLAB's imresize.m."""
    width = 4 / min(scale, 1)
    centre = np.arange(1, n_out + 1) / scale + 0.5 * (1 - 1 / scale)
    index = np.floor(centre - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    x = np.abs(centre[:, None] - index) * min(scale, 1)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weight = near * (x <= 1) + far * ((x > 1) & (x <= 2))
    mirror = np.concatenate([np.arange(n_in), np.arange(n_in)[::-1]])
    return weight / weight.sum(axis=1, keepdims=True), mirror[(index.astype(int) - 1) % (2 * n_in)]
