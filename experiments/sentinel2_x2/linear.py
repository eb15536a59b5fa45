"""The best linear filter for the scene of training, as a baseline for the study: `python experiments/sentinel2_x2/linear.py`.

Each of the 2×2 HR pixels of an LR pixel is a weighted sum of the 9×9 LR pixels around it, in its own band; the weights
minimize the squared error on the rows of the training set. PSNR is that of the protocol, the mean of parts.
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.data.scene_window import open_scene, to_levels
from sr.degrade.mtf import MTF
from sr.image.file_format import ReadOptions
from sr.image.resize import imresize
from sr.metric.protocol import Protocol

TRAIN, TEST = "S2A_MSIL1C_20170527_T33UUB_im10.tif", "S2B_MSIL1C_20171022_T49JGM_im10.tif"
RANGE, BLOCK, REACH = (0.0, 10_000.0), 100, 4
TRAIN_ROWS, VAL_ROWS = 508, slice(540, 600)  # as `data=geotiff` divides the scene


def read_scene(name: str) -> Tensor:
    """Read the levels of a scene, uint16 `[4, H, W]`."""
    with open_scene(Path(os.environ["SR_DATA"]) / "satellite" / "sentinel2" / name, ReadOptions(range=RANGE)) as file:
        return to_levels(file.read().pixels, file)


def degrade(hr: Tensor) -> Tensor:
    """Return the LR of levels `[4, H, W]`, in 0…1."""
    return MTF(2, "sentinel2_10m")(hr[None])[0].double() / 65535


def list_neighbors(band: Tensor) -> np.ndarray:
    """Return the 9×9 pixels around each pixel of `[h, w]`, `[h·w, 81]`."""
    padded = F.pad(band[None, None], (REACH,) * 4, mode="reflect")
    return F.unfold(padded, 2 * REACH + 1)[0].T.numpy()


def fit(lr: Tensor, hr: Tensor) -> list[np.ndarray]:
    """Return the weights of each band, `[81, 4]`."""
    weights = []
    for x, y in zip(lr, hr.double() / 65535, strict=True):
        neighbors = list_neighbors(x)
        pixels = F.pixel_unshuffle(y[None], 2).flatten(1).T.numpy()  # [h·w, 4]
        weights.append(np.linalg.lstsq(neighbors, pixels, rcond=1e-6)[0])
    return weights


def upscale(lr: Tensor, weights: list[np.ndarray]) -> Tensor:
    """Apply the weights: `[4, h, w]` -> `[4, 2h, 2w]`."""
    bands = [torch.from_numpy(list_neighbors(x) @ w).T.view(4, *x.shape) for x, w in zip(lr, weights, strict=True)]
    return torch.cat([F.pixel_shuffle(band, 2) for band in bands])


def measure(hr: Tensor, weights: list[np.ndarray], name: str) -> None:
    """Print the mean PSNR of bicubic and of the filter over the parts of an image."""
    protocol = Protocol("edsr", 2, "bands", depth=16, range=RANGE)
    values: dict[str, list[float]] = {"bicubic": [], "linear": []}
    parts = [part for rows in hr.split(BLOCK, dim=1) for part in rows.split(BLOCK, dim=2)]
    for part in parts:
        lr = degrade(part)
        for method, sr in (("bicubic", imresize(lr, 2)), ("linear", upscale(lr, weights))):
            values[method] += protocol(sr[None], part[None].double() / 65535)["psnr"].tolist()
    print(f"{name}, {len(parts)} parts: " + ", ".join(f"{x} {np.mean(psnrs):.2f} dB" for x, psnrs in values.items()))


def main() -> None:
    """Fit on the rows of the training set; print the PSNR on those of the validation set, and on the test scene."""
    scene = read_scene(TRAIN)
    weights = fit(degrade(scene[:, :TRAIN_ROWS]), scene[:, :TRAIN_ROWS])
    measure(scene[:, VAL_ROWS], weights, "validation")
    measure(read_scene(TEST), weights, "test")


if __name__ == "__main__":
    main()
