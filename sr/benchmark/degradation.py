"""Compare `data/degrade=real` with OpenCV and NumPy in worker processes, on the same drawn parameters."""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor

from sr.benchmark.comparison import Comparison
from sr.config import schema
from sr.config.build import build_part
from sr.data.sample import NAMES
from sr.degrade.chain import Chain
from sr.image.read import read_rgb
from sr.runtime.error import UserError

SIDE, SCALE, BATCH = 256, 4, 16  # HR pixels; images
BATCHES = 8  # with different seeds, used in turn
NOISE = ("gaussian", "poisson")
REFERENCE = (
    "the same steps with the same parameters, image by image in {} processes: OpenCV, NumPy's noise, OpenCV's JPEG"
)

Job = tuple[int, list[tuple[str, Any]]]  # index of an image, steps (see sr.benchmark.opencv)


def compare_degradation() -> Iterator[Comparison]:
    """Degrade 16 crops of photographs. Our side also draws the parameters; the reference gets them as arguments."""
    try:
        from sr.benchmark import opencv
    except ImportError:
        raise UserError("parts=[degrade] needs OpenCV: pip install 'sr[dev]', or leave degrade out of parts") from None
    images = _read_crops()
    hr = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    chain = _build_chain()
    seeds = [list(range(k, k + BATCH)) for k in range(0, BATCH * BATCHES, BATCH)]
    jobs = [[(k, _list_opencv_steps(chain, seed)) for k, seed in enumerate(batch)] for batch in seeds]
    next_seeds, next_jobs = cycle(seeds), cycle(jobs)
    processes = torch.get_num_threads()
    with opencv.start_workers([image[:, :, ::-1].copy() for image in images], processes) as pool:
        _check_equality(chain, hr, jobs[0], lambda some: pool.map(opencv.degrade_image, some))

        def degrade() -> Tensor:
            return chain(hr, torch.tensor(next(next_seeds)))

        def degrade_by_opencv() -> list[NDArray]:
            return pool.map(opencv.degrade_image, next(next_jobs), chunksize=1)

        name = f"degrade=real, {BATCH} images of {SIDE}×{SIDE} to {SIDE // SCALE}×{SIDE // SCALE}"
        yield Comparison(name, degrade, degrade_by_opencv, BATCH, "images/s", REFERENCE.format(processes))


def _read_crops() -> list[NDArray[np.uint8]]:
    """Return RGB crops `[SIDE, SIDE, 3]` of scikit-image's photographs, the second half of them mirrored."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    crops = [read_rgb(folder / name).permute(1, 2, 0).numpy()[:SIDE, :SIDE] for name in NAMES["train"]]
    crops = [crop for crop in crops if crop.shape[:2] == (SIDE, SIDE)]
    return [np.ascontiguousarray(crops[k % len(crops)][:, :: 1 - 2 * (k // 8)]) for k in range(BATCH)]


def _build_chain() -> Chain:
    node = OmegaConf.load(schema.find_conf_dir() / "data/degrade/real.yaml")
    config = OmegaConf.to_container(OmegaConf.merge({"scale": SCALE}, {"degrade": node}), resolve=True)
    return build_part(config["degrade"], "degrade")


def _list_opencv_steps(chain: Chain, seed: int) -> list[tuple[str, Any]]:
    """Return the steps that `chain` draws for a seed, in the form of `sr.benchmark.opencv`."""
    steps: list[tuple[str, Any]] = []
    size, lr_size = (SIDE, SIDE), (SIDE // SCALE, SIDE // SCALE)
    for op, parameters in chain.steps.plan(np.random.default_rng(seed)):
        match type(op).__name__:
            case "Blur" | "Sinc":
                steps.append(("blur", (parameters.float().numpy(),)))
            case "Resample":
                input_size, size = size, op.output_size(parameters, size, lr_size)
                steps += [("resize", (size, parameters.kernel))] * (input_size != size)
            case "Jpeg":
                steps.append(("jpeg", (parameters,)))
            case name:
                steps.append((name.lower(), (parameters.strength, parameters.gray, parameters.seed)))
    return steps


def _check_equality(chain: Chain, hr: Tensor, jobs: list[Job], run: Callable[[list[Job]], list[NDArray]]) -> None:
    """Raise if the two sides differ by more than a level on average.

    Images are compared without noise, whose random numbers differ, and only those without `area` resizing, which PyTorch
    restricts to whole pixels.
    """
    noise_free = [(k, [step for step in steps if step[0] not in NOISE]) for k, steps in jobs]
    comparable = [
        (k, steps)
        for k, steps in noise_free
        if not any(name == "resize" and arguments[-1] == "area" for name, arguments in steps)
    ]
    if not comparable:
        raise AssertionError("no image is without area resizing")
    expected = torch.from_numpy(np.stack(run(comparable))).permute(0, 3, 1, 2).flip(1)
    lr_size = tuple(n // chain.scale for n in hr.shape[-2:])
    plans = [chain.steps.plan(np.random.default_rng(k)) for k, _ in comparable]
    plans = [[step for step in plan if not hasattr(step.parameters, "strength")] for plan in plans]
    results = [chain.apply_plans([hr[k]], [plan], lr_size)[0] for (k, _), plan in zip(comparable, plans, strict=True)]
    difference = (torch.stack(results).float() - expected.float()).abs().mean()
    if difference > 1:
        raise AssertionError(f"our chain and OpenCV's differ by {difference:.1f} levels")
