"""The small network that comes with sr, and the recipe that writes its file."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

from sr.config.cli import find_conf_dir
from sr.data.cifar10 import read_labeled_images
from sr.loss.features import FILE, Features


def test_the_file_that_comes_with_sr_is_small_and_evenly_scaled() -> None:
    """The deviation of each channel before its ReLU is about 1, so that none dominates: on photographs too."""
    from skimage import data

    assert FILE.stat().st_size < 300_000
    photo = torch.from_numpy(data.astronaut()).movedim(-1, 0)[None, :, :256, 128:384] / 255
    small = F.interpolate(photo, scale_factor=0.25, mode="area")
    for seen, _ in Features({"conv1_2": 1, "conv2_2": 1, "conv3_2": 1}).extractor(small, small):
        assert 0.3 < seen.std() < 3


def test_it_distinguishes_the_classes_of_cifar10(sr_data: Path) -> None:
    images, labels = (each[:200] for each in read_labeled_images(sr_data, "test"))
    state = safetensors.torch.load_file(FILE)
    seen = Features({"conv3_2": 1.0}, before_relu=False).extractor(images / 255, images[:1] / 255)[0][0]
    found = F.max_pool2d(seen, 2).mean(dim=(2, 3)) @ state["classifier.weight"].float().T
    found = (found + state["classifier.bias"].float()).argmax(dim=1)
    assert (found == labels).float().mean() > 0.6


@pytest.mark.slow
def test_the_recipe_writes_what_the_loss_reads(tmp_path: Path) -> None:
    """Its batch norms are folded in: channels before their ReLU have mean 0 and deviation 1 over the training images."""
    recipe = runpy.run_path(str(find_conf_dir().parent / "experiments" / "cifar10_features" / "train.py"))
    folder, file = tmp_path / "cifar-10-batches-bin", tmp_path / "mine.safetensors"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, count in (("data_batch_1", 256), ("test_batch", 10)):
        rows = generator.integers(0, 256, (count, 3073), dtype=np.uint8)
        rows[:, 0] %= 10
        rows.tofile(folder / f"{name}.bin")
    recipe["main"](str(tmp_path), str(file), epochs=2)
    images = read_labeled_images(tmp_path, "train")[0] / 255
    (seen, _), *_ = Features({"conv1_1": 1.0}, weights=str(file)).extractor(images, images[:1])
    assert seen.mean(dim=(0, 2, 3)).abs().max() < 0.5
    net = recipe["add_norms"](recipe["vgg"](recipe["WIDTHS"]))
    for layer in net:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    safetensors.torch.save_file(recipe["fold_norms"](net), file)
    (seen, _), *_ = Features({"conv3_2": 1.0}, weights=str(file)).extractor(images[:2], images[:2])
    torch.testing.assert_close(seen, net.eval()[:-2](recipe["normalize"](images[:2] * 255)), rtol=0.02, atol=0.02)
