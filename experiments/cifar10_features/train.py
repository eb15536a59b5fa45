"""Train the small VGG of `model/loss=[features]` on CIFAR-10's labels, and write it in the format that this loss reads.

    python experiments/cifar10_features/train.py data=DIR out=FILE.safetensors [epochs=20] [seed=0] [bf16=1]

`data` holds an extracted CIFAR-10, as for `data=cifar10`. Each convolution is followed by a batch norm without weights of
its own, which is folded into it at the end. So the written network is plain, and before its ReLUs every channel has mean 0
and standard deviation 1 over the training set: all channels of all layers have the same weight in a loss.
"""

import sys
import time
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr.data.cifar10 import read_labeled_images
from sr.pretrained.backbone import MEAN, STD, vgg

WIDTHS = ((16, 32), (48, 48), (80, 80))
BATCH, RATE, DECAY, MOMENTUM, SMOOTHING = 128, 0.1, 5e-4, 0.9, 0.1


def add_norms(plain: nn.Sequential) -> nn.Sequential:
    """Return the network with a batch norm after each convolution."""
    layers = ([layer, nn.BatchNorm2d(layer.out_channels, affine=False)] if isinstance(layer, nn.Conv2d) else [layer]
              for layer in plain)  # fmt: skip
    return nn.Sequential(*(layer for pair in layers for layer in pair))


def fold_norms(net: nn.Sequential) -> dict[str, Tensor]:
    """Return the weights of the equivalent network without batch norms, named as in torchvision's VGG, in half precision."""
    layers = [layer for layer in net if not isinstance(layer, nn.BatchNorm2d)]
    norms = iter(layer for layer in net if isinstance(layer, nn.BatchNorm2d))
    state = {}
    for k, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            norm = next(norms)
            scale = (norm.running_var + norm.eps).rsqrt()
            state[f"features.{k}.weight"] = layer.weight.detach() * scale.view(-1, 1, 1, 1)
            state[f"features.{k}.bias"] = (layer.bias.detach() - norm.running_mean) * scale
    return {key: value.half().contiguous() for key, value in state.items()}


def normalize(images: Tensor) -> Tensor:
    """Convert uint8 `[B, 3, h, w]` to float with ImageNet's mean and standard deviation."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def augment(images: Tensor) -> Tensor:
    """Mirror half of the images and shift all by up to four pixels."""
    images = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(-1), images)
    padded = F.pad(images, (4, 4, 4, 4), mode="reflect")
    down, across = torch.randint(0, 9, (2, len(images), 1))
    rows, columns = down + torch.arange(32), across + torch.arange(32)
    return padded[torch.arange(len(images))[:, None, None], :, rows[:, :, None], columns[:, None]].movedim(-1, 1)


def compute_accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images that are classified correctly."""
    with torch.no_grad():
        predicted = torch.cat([net.eval()(batch).argmax(dim=1) for batch in normalize(images).split(256)])
    return (predicted == labels).float().mean().item()


def main(data: str, out: str, epochs: int = 20, seed: int = 0, bf16: int = 0) -> None:
    """Train, print loss and test accuracy of each epoch, and write the weights to `out`."""
    torch.manual_seed(seed)
    (images, labels), test = (read_labeled_images(Path(data), part) for part in ("train", "test"))
    features = add_norms(vgg(WIDTHS))
    head = nn.Linear(WIDTHS[-1][-1], 10)
    net = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * steps, pct_start=0.2)
    start = time.process_time()
    for epoch in range(epochs):
        net.train()
        for index in torch.randperm(len(images))[: steps * BATCH].view(steps, BATCH):
            optimizer.zero_grad()
            with torch.autocast(
                "cpu", torch.bfloat16, enabled=bool(bf16)
            ):  # half the time where the CPU has AVX-512 BF16
                logits = net(normalize(augment(images[index])))
            loss = F.cross_entropy(logits.float(), labels[index], label_smoothing=SMOOTHING)
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.process_time() - start
        print(
            f"epoch {epoch + 1}: loss {loss.item():.3f}, test {compute_accuracy(net, *test):.3f}, {seconds:.0f} s of CPU",
            flush=True,
        )
    classifier = {f"classifier.{key}": value.half() for key, value in head.state_dict().items()}
    safetensors.torch.save_file(fold_norms(features) | classifier, out)


if __name__ == "__main__":
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    main(**{key: int(value) if value.isdigit() else value for key, value in words.items()})
