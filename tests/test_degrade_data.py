"""Degradations in commands and data: a chain of one's own, fixed and random seeds, the sheet of a training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_degrade import random_images
from torch import Tensor

from sr.degrade.chain import Chain
from sr.degrade.jpeg import Jpeg
from sr.degrade.noise import Gaussian
from sr.runtime.error import UserError


@pytest.mark.slow(1)
def test_a_users_own_chain_needs_only_a_yaml(sr: Any, tmp_path: Path, world: Path) -> None:
    """Its evaluation images are the same in another run with another seed."""
    folder = tmp_path / "mine" / "data" / "degrade"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "_target_: sr.degrade.chain.Chain\nscale: ${scale}\nops:\n"
        "  - {_target_: sr.degrade.noise.Gaussian, probability: 0.5, sigma: [5, 20]}\n  - {_target_: sr.degrade.jpeg.Jpeg}\n"
    )
    words = [f"--config-dir={tmp_path}/mine", "data=folder", "data/degrade=mine", f"data.path={world}/photos"]
    words += ["model/net=bicubic", "track=none", f"paths.data={world}"]
    lines = []
    for more in (["seed=0"], ["seed=7", "data.test=[Set5,folder]"]):
        answer = sr("run", *words, *more)
        assert answer.code == 0, answer.err
        lines.append([line for line in answer.out.splitlines() if line.startswith("test/folder")])
    assert lines[0] == lines[1] != []


def degrade_batch(hr: Tensor, seed: int | None, degrade: Any, scale: int = 2) -> Tensor:
    """Return the LR that a data module creates for a batch."""
    from sr.data.sample import Sample
    from sr.image.batch import Raw

    data = Sample(scale=scale, color="rgb", seed=0, root="", degrade=degrade, val=[], test=[], patch=32)
    return data.on_after_batch_transfer(Raw(hr, seed=seed), 0).lr


def test_evaluation_images_have_a_fixed_degradation_and_patches_a_random_one() -> None:
    """An evaluation image has it in any batch; two equal patches of a batch are degraded differently."""
    hr, degrade = random_images(3, 3, 32, 32), Chain(2, [Gaussian(sigma=(5, 25))])
    whole = degrade_batch(hr, None, degrade)
    assert torch.equal(degrade_batch(hr[[2, 0]], None, degrade), whole[[2, 0]])
    assert torch.equal(degrade_batch(hr[1:2], None, degrade), whole[1:2])
    same = hr[:1].expand(3, -1, -1, -1)
    patches = degrade_batch(same, 5, degrade)
    assert torch.equal(degrade_batch(same, 5, degrade), patches)
    assert not torch.equal(patches[0], patches[1])
    assert not torch.equal(degrade_batch(same, 6, degrade), patches)


def test_lr_psnr_needs_a_degradation_that_is_fixed() -> None:
    from sr.metric.lr_psnr import LRPSNR

    with pytest.raises(UserError, match="data/degrade is random"):
        LRPSNR(Chain(2, [Jpeg()]))


def test_training_on_real_logs_a_sheet_of_degradations(
    sr: Any, tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sheet at the start, HR next to several random LR; and none where nothing is random."""
    logged = {}
    monkeypatch.setattr("sr.track.none.NoTracker.log_image", lambda _, key, image, step: logged.update({key: image}))
    words = [f"data.path={world}/photos", "data.patch=32", "data.batch=2", "trainer.max_steps=2", "model.net.width=4",
             "stages=[fit]", "track=none", "track.panels=1", "scale=4"]  # fmt: skip
    answer = sr("run", "data=folder", "data/degrade=real", *words)
    assert answer.code == 0, answer.err
    tiles = np.array(logged["degradation"])
    assert logged["degradation"].width > 6 * 128
    hr, first, second = (tiles[:128, k * (tiles.shape[1] // 6 + 1) :][:, :100] for k in range(3))
    assert len({hr.tobytes(), first.tobytes(), second.tobytes()}) == 3
    logged.clear()
    assert sr("run", "data=folder", *words).code == 0
    assert "degradation" not in logged
