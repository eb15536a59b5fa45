"""`data/augment=[…]`: the changes of a batch, that LR and HR still belong together, and that they are repeatable."""

from typing import Any

import pytest
import torch
from specimen import levels
from torch import Generator, Tensor

from sr.augment.cutblur import CutBlur, sample_centers
from sr.augment.cutmix import CutMix
from sr.augment.mixup import MixUp
from sr.degrade.bicubic import Bicubic
from sr.image.batch import Pair
from sr.image.resize import imresize

ALL = (CutBlur, CutMix, MixUp)


def make_generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def batch(count: int = 4, scale: int = 2, channels: int = 3, h: int = 16, w: int = 21) -> Pair:
    """Noise and what bicubic makes of it: nothing could hide."""
    hr = levels(count, channels, scale * h, scale * w).to(torch.uint8)
    return Pair(Bicubic(scale)(hr).float() / 255, hr.float() / 255)


def find_changes(before: Tensor, after: Tensor) -> Tensor:
    """Return where two batches differ: bool `[B, H, W]`."""
    return (before != after).any(dim=1)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("scale", "channels", "dtype"), [(2, 3, torch.float32), (3, 1, torch.float64)])
def test_a_batch_stays_one(kind: Any, scale: int, channels: int, dtype: torch.dtype) -> None:
    """Shapes, dtype and range; the one that was given is left as it was; the same seed gives the same."""
    pair = Pair(*(image.to(dtype) for image in batch(scale=scale, channels=channels)))
    copies = Pair(*(image.clone() for image in pair))
    result, again, other = (kind(probability=1)(pair, make_generator(seed)) for seed in (5, 5, 6))
    for image, before, after in zip(result, pair, copies, strict=True):
        assert (image.shape, image.dtype) == (after.shape, dtype)
        assert image.min() >= 0 and image.max() <= 1
        assert torch.equal(before, after)
    assert all(torch.equal(a, b) for a, b in zip(result, again, strict=True))
    assert not torch.equal(result.lr, other.lr)


@pytest.mark.parametrize("kind", ALL)
def test_each_image_is_changed_with_the_given_probability(kind: Any) -> None:
    pair = batch(count=200, h=6, w=6)
    for probability, least, most in ((0, 0, 0), (0.25, 30, 70), (1, 200, 200)):
        result = kind(probability=probability)(pair, make_generator())
        acted = find_changes(pair.lr, result.lr).flatten(1).any(dim=1)
        assert least <= acted.sum() <= most
        assert torch.equal(result.hr[~acted], pair.hr[~acted])


@pytest.mark.parametrize("kind", [CutMix, MixUp])
def test_an_image_is_mixed_with_another(kind: Any) -> None:
    pair = batch(count=2, h=6, w=6)
    for seed in range(8):
        assert find_changes(pair.lr, kind(probability=1)(pair, make_generator(seed)).lr).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("kind", [CutMix, MixUp])
def test_a_batch_of_one_has_nothing_to_be_mixed_with(kind: Any) -> None:
    pair = batch(count=1)
    result = kind(probability=1)(pair, make_generator())
    torch.testing.assert_close(result, pair, rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", [2, 3])
def test_cutmix_cuts_lr_and_hr_at_one_place(scale: int) -> None:
    """Only within bicubic's reach of the rectangle's border is LR no longer what HR gives."""
    pair = batch(scale=scale)
    result = CutMix(probability=1, ratio=0.7)(pair, make_generator())
    small, large = find_changes(pair.lr, result.lr), find_changes(pair.hr, result.hr)
    places = set()
    for k in range(4):
        rows, columns = small[k].any(dim=1).nonzero().flatten(), small[k].any(dim=0).nonzero().flatten()
        places.add((int(rows[0]), int(columns[0])))
        assert (len(rows), len(columns)) == (11, 15)  # 0.7 of 16 and 21
        assert torch.equal(large[k].any(dim=1).nonzero().flatten() // scale, rows.repeat_interleave(scale))
    assert len(places) > 1  # each image has its own
    fresh = Bicubic(scale)((result.hr * 255).round().to(torch.uint8)).float() / 255
    wide = torch.nn.functional.max_pool2d(small.float(), 5, stride=1, padding=2) > 0
    narrow = torch.nn.functional.max_pool2d((~small).float(), 5, stride=1, padding=2) == 0
    assert narrow.any()
    assert (~wide).any()
    torch.testing.assert_close(fresh.movedim(1, -1)[narrow | ~wide], result.lr.movedim(1, -1)[narrow | ~wide])
    assert find_changes(fresh, result.lr).any()


def test_mixup_mixes_lr_and_hr_by_one_share() -> None:
    pair = batch()
    result = MixUp(probability=1)(pair, make_generator())
    fresh = imresize(result.hr, 0.5).clamp(0, 1)
    plain = (imresize(pair.hr, 0.5).clamp(0, 1) - pair.lr).abs().max()  # of rounding
    assert (fresh - result.lr).abs().mean() < plain
    assert (fresh - pair.lr).abs().mean() > 10 * plain


def test_cutblur_gives_part_of_lr_the_contrast_of_hr() -> None:
    pair = batch(count=40)
    result = CutBlur(probability=1, ratio=0.5)(pair, make_generator())
    assert torch.equal(result.hr, pair.hr)
    area = find_changes(pair.lr, result.lr).float().mean(dim=(1, 2))
    inside = 8 * round(0.5 * 21) / (16 * 21)
    torch.testing.assert_close(torch.minimum(area, 1 - area), torch.full((40,), inside), atol=0.01, rtol=0)
    assert 10 <= (area > 0.5).sum() <= 30  # as often outside as inside
    pasted = find_changes(pair.lr, result.lr)[:, None].expand_as(pair.lr)
    assert result.lr[pasted].std() > 1.2 * pair.lr[pasted].std()


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_what_cutblur_pastes_lies_where_lr_does(scale: int) -> None:
    """A slope has the same value at the same place, however it is shrunk."""
    slope = torch.arange(12.0 * scale).expand(1, 1, 12 * scale, -1) / 100 + torch.arange(12.0 * scale)[:, None] / 50
    torch.testing.assert_close(
        sample_centers(slope, scale)[..., 3:-3, 3:-3], imresize(slope, 1 / scale)[..., 3:-3, 3:-3]
    )
