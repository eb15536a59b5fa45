"""`metric/also=[improvement,omission,hallucination]`: what share of the added detail is true, is left out, or is invented?

Aybar et al., "A Comprehensive Benchmark for Optical Remote Sensing Image Super-Resolution", 2024,
https://doi.org/10.1109/LGRS.2024.3401394, with the constants of its code, opensr-test 1.3.2. Of each pixel the distances
between the result, HR and the LR image, upscaled bilinearly, are compared:

* improvement: the result is as HR is, and not as LR;
* omission: it has stayed as LR is;
* hallucination: it is neither as HR nor as LR.

The three shares add up to 1. They count pixels where LR, HR and the result differ, not those of flat areas. As in the
authors' code, the histogram of the result is matched to that of HR first, and 16 pixels are cut at each side. Unlike there,
the result is not shifted to HR: here both lie on one grid. Distances are relative, |a - b| / (a + b), so that the same
error weighs more in a dark area.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.metric import Metric

Share = Literal["improvement", "omission", "hallucination"]
SHARES: tuple[Share, ...] = ("improvement", "omission", "hallucination")

BORDER = 16  # HR pixels that are cut at each side
STEEPNESS = 0.05  # λ of all three scores, `im_score`, `om_score` and `ha_score` there
TEMPERATURE = 0.25  # of the softmin
QUANTILE = 0.75  # pixels count whose distance is above that of this share of the pixels of LR to HR
_EPSILON = 1e-8


def compute_correctness(sr: Tensor, hr: Tensor, lr: Tensor) -> Tensor:
    """Return the maps of the shares of improvement, omission and hallucination, of one image.

    `sr`, `hr` `[C, H, W]`, `lr` `[C, h, w]` in 0…1 -> `[3, H - 2b, W - 2b]`, nan where LR, HR and the result are nearly equal.
    """
    scale = hr.shape[-1] // lr.shape[-1]
    border = BORDER // scale  # LR pixels
    lr, sr, hr = _crop(lr, border), _crop(sr, border * scale), _crop(hr, border * scale)
    lr = F.interpolate(lr[None], size=hr.shape[-2:], mode="bilinear", antialias=True)[0]
    sr = _match_histogram(sr, hr)
    distances = _measure_distance(lr, hr), _measure_distance(sr, hr), _measure_distance(sr, lr)
    to_reference = distances[0]
    rank = max(1, int(QUANTILE * to_reference.numel()))
    threshold = to_reference.flatten().kthvalue(rank).values
    is_counted = torch.stack(distances).amax(dim=0) > threshold
    im, om = (distance / to_reference for distance in distances[1:])
    steepness = 1 - torch.exp(-STEEPNESS * (im + om - 1))
    scores = torch.stack([im + om * steepness, om + im * steepness, torch.exp(-STEEPNESS * im * om)])
    shares = torch.exp(-scores / TEMPERATURE)  # the smallest score has the largest share
    return torch.where(is_counted, shares / shares.sum(dim=0), torch.nan)


def _crop(image: Tensor, border: int) -> Tensor:
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def _measure_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the relative difference of each pixel, the mean over channels: `[C, H, W]` -> `[H, W]`."""
    return ((x - y).abs() / (x + y + _EPSILON).abs()).mean(dim=0)


def _match_histogram(image: Tensor, reference: Tensor) -> Tensor:
    """Return the image with the histogram of the reference, channel by channel."""
    from skimage.exposure import match_histograms  # takes a quarter of a second

    matched = match_histograms(image.cpu().numpy(), reference.cpu().numpy(), channel_axis=0)
    return torch.from_numpy(matched).to(image)


class Correctness(Metric):
    """One of the three shares, 0…1. An image of 32 pixels a side or less has none, nor one without any detail: nan."""

    def __init__(self, share: Share) -> None:
        self.share: Share = share
        self.better: Literal["higher", "lower"] = "higher" if share == "improvement" else "lower"
        self.label = f"{share}_opensr"  # the constants are part of the number

    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`."""
        pairs = zip(images.sr, images.hr, images.lr, strict=True)
        return torch.stack([self._measure(*(image.double() for image in single)) for single in pairs])

    def _measure(self, sr: Tensor, hr: Tensor, lr: Tensor) -> Tensor:
        if min(hr.shape[-2:]) <= 2 * BORDER:
            return torch.full((), torch.nan, dtype=torch.float64, device=sr.device)
        return compute_correctness(sr, hr, lr)[SHARES.index(self.share)].nanmean()
