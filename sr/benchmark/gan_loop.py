"""The bare training loop of `model=gan` with its default networks and losses, as one would write it by hand."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.nn import functional as F

from sr.benchmark.backend import MIN_STEPS, Settings
from sr.benchmark.batches import TrainingBatch
from sr.checkpoint.architecture import compose_net_config
from sr.config.build import build_part
from sr.discriminator.vgg import VGG

ADVERSARIAL_WEIGHT = 1e-3  # as in conf/model/gan.yaml; so are the networks
GENERATOR = "srresnet_small"
WIDTH, DENSE = 32, 256  # of conf/model/discriminator/vgg_small.yaml


def create_gan_loop(
    config: dict[str, Any], settings: Settings, batches: Iterator[TrainingBatch]
) -> Callable[[int], None]:
    """Return a function that trains both networks for a number of steps, each on the next batch; it is warmed up."""
    torch.manual_seed(0)
    generator = build_part(compose_net_config(GENERATOR, config["scale"], config["channels"]), "model.net")
    discriminator = VGG(config["channels"], width=WIDTH, dense=DENSE)
    for net in (generator, discriminator):
        net.to(memory_format=settings.layout)
    if settings.compile:  # as trainer.compile does, which leaves the discriminator as it is
        generator.compile()
    optimizers = [torch.optim.Adam(net.parameters(), fused=settings.fused) for net in (generator, discriminator)]

    def train(steps: int) -> None:
        torch.set_num_threads(settings.threads)
        for batch in islice(batches, steps):
            lr, hr = (images.to(memory_format=settings.layout) for images in batch)
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
                fake = generator(lr)

                # The discriminator's loss.
                real_logit, fake_logit = discriminator(hr).float(), discriminator(fake.detach()).float()
                d_loss = _cross_entropy(real_logit, 1) + _cross_entropy(fake_logit, 0)
            d_loss.backward()
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
                # The generator's loss; the discriminator's weights get no gradient from it.
                discriminator.requires_grad_(False)
                g_loss = F.l1_loss(fake, hr) - ADVERSARIAL_WEIGHT * _cross_entropy(discriminator(fake).float(), 0)
                discriminator.requires_grad_(True)
            g_loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

    train(MIN_STEPS)
    return train


def _cross_entropy(logit: torch.Tensor, label: float) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logit, torch.full_like(logit, label))
