"""A convolution under spectral normalization (Miyato et al., "Spectral Normalization for Generative Adversarial Networks",
2018, https://arxiv.org/abs/1802.05957): its weight is divided by its largest singular value.

Names in the state dict are those of `torch.nn.utils.spectral_norm`, which published discriminators were saved with. Unlike
that one, it can be copied after use, counts in full precision under mixed precision, and is normalized from step one on.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

START = 15  # iterations before the first step; from then on one for each pass of the training is enough


class SpectralConv(nn.Module):
    """`[B, C, H, W]` -> `[B, c_out, …]` with W / σ(W), eq. 8; W is seen as the matrix `[c_out, c_in · kernel²]`."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> None:
        super().__init__()
        plain = nn.Conv2d(c_in, c_out, kernel, bias=bias)
        self.weight_orig, self.bias = plain.weight, plain.bias
        self.stride, self.padding = stride, padding
        flat = self.weight_orig.detach().flatten(1)
        self.register_buffer("weight_u", F.normalize(torch.randn(flat.shape[0]), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(flat.shape[1]), dim=0))
        for _ in range(START):
            self._iterate(flat)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self._normalized(), self.bias, self.stride, self.padding)

    def _normalized(self) -> Tensor:
        flat = self.weight_orig.flatten(1)
        with torch.autocast(flat.device.type, enabled=False):
            if self.training:
                self._iterate(flat.detach())
            u, v = self.weight_u.clone(), self.weight_v.clone()  # the next pass, on fakes, overwrites the buffers
            return self.weight_orig / (u @ flat @ v)

    @torch.no_grad()
    def _iterate(self, flat: Tensor) -> None:
        """Algorithm 1: one step towards the singular vectors of the largest singular value."""
        self.weight_v.copy_(F.normalize(flat.T @ self.weight_u, dim=0))
        self.weight_u.copy_(F.normalize(flat @ self.weight_v, dim=0))
