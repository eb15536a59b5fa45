"""Improvement, omission and hallucination against numbers of the authors' code, opensr-test 1.3.2.

They were computed by its functions of the commit b42b1cb with its default constants, `gradient_threshold="auto"` and without
the alignment by satalign, from the images of `make_wave`.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.correctness import SHARES, Correctness, compute_correctness

OPENSR_TEST = {  # scale, result -> improvement, omission, hallucination
    (2, "nearly HR"): (0.790921, 0.083891, 0.125188),
    (2, "bicubic"): (0.482656, 0.367337, 0.150007),
    (2, "another"): (0.032490, 0.044741, 0.922769),
    (4, "nearly HR"): (0.915195, 0.041639, 0.043166),
    (4, "bicubic"): (0.281678, 0.436464, 0.281858),
    (4, "another"): (0.093837, 0.141049, 0.765114),
}


def make_wave(frequency: int, height: int = 96, width: int = 128) -> Tensor:
    """Return an image of smooth waves in 0…1, `[3, H, W]`, float64."""
    axes = (torch.arange(n, dtype=torch.float64) for n in (height, width))
    y, x = torch.meshgrid(*axes, indexing="ij")
    waves = [
        0.5
        + 0.2 * torch.sin(0.9 * frequency * x / 7 + channel)
        + 0.2 * torch.cos(0.7 * y * frequency / 5 - channel) * torch.sin(x * y / 97)
        for channel in range(3)
    ]
    return torch.stack(waves)


def make_images(scale: int, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return a result, HR and LR."""
    hr, another = make_wave(3), make_wave(5)
    lr = F.avg_pool2d(hr[None], scale)[0]
    bicubic = F.interpolate(lr[None], scale_factor=scale, mode="bicubic")[0].clamp(0, 1)
    results = {"nearly HR": 0.9 * hr + 0.1 * another, "bicubic": bicubic, "another": 0.5 * bicubic + 0.5 * another}
    return results[kind], hr, lr


@pytest.mark.parametrize(("scale", "kind"), OPENSR_TEST)
def test_shares_of_the_authors_code(scale: int, kind: str) -> None:
    shares = compute_correctness(*make_images(scale, kind))
    assert [share.nanmean().item() for share in shares] == pytest.approx(OPENSR_TEST[scale, kind], abs=2e-6)


def test_each_metric_is_one_share_and_they_add_up_to_one() -> None:
    sr, hr, lr = (image[None] for image in make_images(2, "nearly HR"))
    images = MetricInput(sr * 255, hr * 255, sr, hr, lr)
    values = [Correctness(share)(images).item() for share in SHARES]
    assert values == pytest.approx(OPENSR_TEST[2, "nearly HR"], abs=2e-6)
    assert sum(values) == pytest.approx(1)


def test_small_image_has_no_share() -> None:
    image = torch.rand(1, 3, 32, 64, dtype=torch.float64)
    small = MetricInput(image, image, image, image, image[..., ::2, ::2])
    assert Correctness("hallucination")(small).isnan().all()
