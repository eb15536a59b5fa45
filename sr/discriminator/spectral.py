"""A convolution with spectral normalization (Miyato et al., "Spectral Normalization for Generative Adversarial Networks",
2018, https://arxiv.org/abs/1802.05957): its weight is divided by its largest singular value.

Names in the state dict are those of `torch.nn.utils.spectral_norm`, which published discriminators were saved with. Unlike
that one, it can be copied after use, computes the norm in full precision under mixed precision, and is normalized from the
first step on.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INITIAL_ITERATIONS = 15  # before the first step; from then on one for each forward pass in training is enough


class SpectralConv(nn.Module):
    """`[B, C, H, W]` -> `[B, c_out, …]` with W / σ(W), eq. 8; W is read as the matrix `[c_out, c_in · kernel²]`."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(c_in, c_out, kernel, bias=bias)
        self.weight_orig, self.bias = conv.weight, conv.bias
        self.stride, self.padding = stride, padding
        matrix = self.weight_orig.detach().flatten(1)
        self.register_buffer("weight_u", F.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        for _ in range(INITIAL_ITERATIONS):
            self._iterate(matrix)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self._normalized_weight(), self.bias, self.stride, self.padding)

    def _normalized_weight(self) -> Tensor:
        matrix = self.weight_orig.flatten(1)
        with torch.autocast(matrix.device.type, enabled=False):
            if self.training:
                self._iterate(matrix.detach())
            u, v = self.weight_u.clone(), self.weight_v.clone()  # the next pass, on fakes, overwrites the buffers
            return self.weight_orig / (u @ matrix @ v)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        """Do one step of algorithm 1, a power iteration, towards the singular vectors of the largest singular value."""
        self.weight_v.copy_(F.normalize(matrix.T @ self.weight_u, dim=0))
        self.weight_u.copy_(F.normalize(matrix @ self.weight_v, dim=0))
