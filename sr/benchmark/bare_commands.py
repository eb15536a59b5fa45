"""Do what a command does as a short script of one's own would: the references of `sr.bench parts=[commands]`.

Each runs as a process of its own, `python -m sr.benchmark.bare_commands NAME …`, and imports what it needs alone.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def read_pixels(folder: Path) -> list[np.ndarray]:
    """Return all images of a folder, uint8 `[H, W, 3]`."""
    return [np.asarray(Image.open(file).convert("RGB")) for file in sorted(folder.iterdir())]


def train_one_step(folder: str, output: str) -> None:
    """Decode all images, train the net of `sr.benchmark.commands` by one step, and save it."""
    import torch

    from sr.image.resize import imresize
    from sr.net.plain import Plain

    images = read_pixels(Path(folder))
    net = Plain(scale=2, channels=3)
    optimizer = torch.optim.Adam(net.parameters())
    hr = torch.stack([torch.from_numpy(x[:96, :96].copy()).permute(2, 0, 1) for x in images[:8]])
    loss = (net(imresize(hr, 1 / 2).float() / 255) - hr.float() / 255).abs().mean()
    loss.backward()
    optimizer.step()
    torch.save(net.state_dict(), output)


def hash_images(folder: str) -> None:
    """Hash all images, and compare each with all others."""
    import imagehash

    bits = np.stack([imagehash.phash(Image.fromarray(pixels)).hash.ravel() for pixels in read_pixels(Path(folder))])
    signs = bits * np.float32(2) - 1
    print((signs @ signs.T >= 44).sum())  # at most 10 of 64 signs differ


def evaluate_net(description: str, weights: str, folder: str, output: str) -> None:
    """Write the mean PSNR and SSIM of a net: rounded to 8 bits, on luma, without a border of `scale` pixels."""
    import torch

    from sr.benchmark.bare_upscaling import load_tuned
    from sr.image.color import rgb_to_luma
    from sr.image.resize import imresize
    from sr.metric.psnr import psnr
    from sr.metric.ssim import ssim

    net = load_tuned(Path(description), Path(weights))
    s, values = net.scale, []
    with torch.inference_mode():
        for pixels in read_pixels(Path(folder)):
            hr = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
            hr = hr[..., : hr.shape[2] // s * s, : hr.shape[3] // s * s]
            sr = net(imresize(hr, 1 / s).float().div_(255).to(memory_format=torch.channels_last))
            rounded = (x.double() / 255 for x in (sr.mul(255).round().clamp(0, 255), hr))
            luma = [(255 * rgb_to_luma(x))[..., s:-s, s:-s] for x in rounded]
            values.append([psnr(*luma).item(), ssim(*luma).item()])
    Path(output).write_text(json.dumps(np.mean(values, axis=0).tolist()), encoding="utf-8")


COMMANDS = {"start": train_one_step, "inspect": hash_images, "evaluate": evaluate_net}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
