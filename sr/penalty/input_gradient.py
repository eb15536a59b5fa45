"""The gradient of the discriminator's output with respect to its input image, of which penalties are made."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def input_gradient(discriminator: nn.Module, image: Tensor) -> Tensor:
    """Return the gradient of D's output with respect to each image, `[B, C·H·W]`, itself differentiable with respect to D.

    If D's output is a map, it is the gradient of the map's sum. In full precision, also within mixed precision: a
    gradient of a gradient loses too much in half precision. Costs about two forward and two backward passes of D.
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
