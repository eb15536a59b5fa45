"""`model/loss=[dists_like]`: structure and texture, each compared as SSIM does it, in what a VGG sees: a relative of DISTS
(Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", 2020, https://arxiv.org/abs/2004.07728,
eq. 5 to 7), with equal weights instead of learned ones.

Unlike `metric/also=[dists]`, which is DISTS itself: VGG-19 instead of VGG16, its own max-poolings, and the picture and each
stage count alike, within them every channel. Its values cannot be compared with DISTS's.
"""

import torch
from torch import Tensor, nn

from sr.loss.feature_extractor import colored, load
from sr.loss.full_precision import full
from sr.pretrained.backbone import find_weight_file

KEY = "model.loss.dists_like"
TINY = 1e-6  # c1 and c2


class DISTSLike(nn.Module):
    """1 − half the mean of texture's and of structure's similarity; 0 (equal) … 1.5.

    Through the official VGG-19, or `weights`, a file of any VGG in torchvision's layout.
    """

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.stack = load(find_weight_file("vgg19", weights, KEY), KEY)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        pairs = [tuple(colored(image) for image in full(sr, hr)), *self.stack(sr, hr)]
        return torch.stack([unlike(ours, theirs).mean() for ours, theirs in pairs]).mean()


def unlike(x: Tensor, y: Tensor) -> Tensor:
    """Half of 1 − texture's similarity (eq. 5) plus 1 − structure's (eq. 6), of each channel: `[B, C, h, w]` -> `[B, C]`.

    With d = x − y they are ⟨d⟩² / (⟨x⟩² + ⟨y⟩² + c1) and var d / (var x + var y + c2): 0 to the last digit where x is y.
    """
    x, y = x.flatten(2), y.flatten(2)
    d = x - y
    (mx, my, md), (vx, vy, vd) = zip(*((i.mean(dim=2), i.var(dim=2, correction=0)) for i in (x, y, d)), strict=True)
    texture = md.square() / (mx.square() + my.square() + TINY)
    structure = vd / (vx + vy + TINY)
    return (texture + structure) / 2
