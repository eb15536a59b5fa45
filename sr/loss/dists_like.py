"""`model/loss=[dists_like]`: structure and texture of VGG features, each compared as SSIM does it: a variant of DISTS.

Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", 2020,
https://arxiv.org/abs/2004.07728, eq. 5 to 7, with equal weights instead of learned ones.

Differs from `metric/also=[dists]`, which is DISTS itself: VGG-19 instead of VGG16, with its own max poolings; the image and
each stage have equal weights, and so have the channels within them. Its values cannot be compared with those of DISTS.
"""

import torch
from torch import Tensor, nn

from sr.loss.feature_extractor import load_extractor, to_rgb
from sr.loss.full_precision import to_full_precision
from sr.pretrained.backbone import find_weight_file
from sr.runtime.option_types import PathStr

KEY = "model.loss.dists_like"
C = 1e-6  # c1 and c2 of the paper


class DISTSLike(nn.Module):
    """1 − the mean of the similarities of texture and structure; 0 (equal) … 1.5.

    The features are those of the official VGG-19, or of `weights`, a file of any VGG in torchvision's layout.
    """

    def __init__(self, weights: PathStr | None = None) -> None:
        super().__init__()
        self.extractor = load_extractor(find_weight_file("vgg19", weights, KEY), KEY)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        pairs = [tuple(to_rgb(image) for image in to_full_precision(sr, hr)), *self.extractor(sr, hr)]
        return torch.stack([compute_dissimilarity(x, y).mean() for x, y in pairs]).mean()


def compute_dissimilarity(x: Tensor, y: Tensor) -> Tensor:
    """Return 1 − the mean similarity of texture (eq. 5) and structure (eq. 6) of each channel: `[B, C, h, w]` -> `[B, C]`.

    With d = x − y, 1 − similarity is ⟨d⟩² / (⟨x⟩² + ⟨y⟩² + c1) for texture and var d / (var x + var y + c2) for structure:
    exactly 0 if x equals y.
    """
    x, y = x.flatten(2), y.flatten(2)
    d = x - y
    (mx, my, md), (vx, vy, vd) = zip(*((i.mean(dim=2), i.var(dim=2, correction=0)) for i in (x, y, d)), strict=True)
    texture = md.square() / (mx.square() + my.square() + C)
    structure = vd / (vx + vy + C)
    return (texture + structure) / 2
