"""How steep a discriminator is at an image: what penalties are made of."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def slope(discriminator: nn.Module, image: Tensor) -> Tensor:
    """The gradient of D's output with respect to each image, `[B, C·H·W]`, itself differentiable with respect to D.

    Of a D whose output is a map, it is the gradient of the map's sum. In full precision, also within mixed precision: a
    gradient's gradient loses too much in half. Costs about two passes through D forward and two back.
    """
    if any(isinstance(module, _BatchNorm) for module in discriminator.modules()):
        warnings.warn(
            "model/penalty: the discriminator's batch norm lets each image's logit depend on its whole batch, so the "
            "penalty is not on images; use model.discriminator.norm=spectral, or model/discriminator=unet",
            stacklevel=3,
        )
    with torch.enable_grad(), torch.autocast(image.device.type, enabled=False):
        image = image.detach().to(torch.promote_types(image.dtype, torch.float32)).requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(image).sum(), image, create_graph=True)
    return gradient.flatten(1)
