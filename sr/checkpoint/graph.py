"""The network as a graph: images in, images out, so that nobody needs to know which channels it was trained on."""

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sr.checkpoint.load import LoadedNet
from sr.image.color import rgb_to_ycbcr, ycbcr_to_rgb
from sr.image.resize import imresize
from sr.image.write import to_uint8
from sr.runtime.error import UserError

EXAMPLE = (2, 40, 56)  # images, rows and columns; an example of one image would freeze the batch


class ImageGraph(nn.Module):
    """Upscales `[B, C, h, w]` to `[B, C, s·h, s·w]`: float in 0…1, not clamped, or uint8, rounded and clamped.

    C is 3, or that of a net with another number of channels, such as 1 of color=gray. A net for luma (color=y) gets BT.601
    luma, and chroma is upscaled bicubically, as everywhere in sr.
    """

    def __init__(self, net: nn.Module, color: str, is_uint8: bool = False) -> None:
        super().__init__()
        self.net, self.color, self.is_uint8 = net, color, is_uint8

    @property
    def channels(self) -> int:
        """The number of channels of the images."""
        return 3 if self.color == "y" else self.net.channels

    def forward(self, lr: Tensor) -> Tensor:
        if self.is_uint8:
            lr = lr.float() / 255
        sr = self._upscale_luma(lr) if self.color == "y" else self.net(lr)
        return to_uint8(sr) if self.is_uint8 else sr

    def _upscale_luma(self, lr: Tensor) -> Tensor:
        ycbcr = rgb_to_ycbcr(lr)
        chroma = imresize(ycbcr[:, 1:], self.net.scale)
        return ycbcr_to_rgb(torch.cat([self.net(ycbcr[:, :1]), chroma], dim=1))


def trace_graph(graph: ImageGraph) -> ExportedProgram:
    """Return the program of `torch.export`, for any batch, height and width."""
    b, h, w = EXAMPLE
    example = torch.rand(b, graph.channels, h, w)
    example = to_uint8(example) if graph.is_uint8 else example
    sizes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    with torch.no_grad():
        return torch.export.export(graph, (example,), dynamic_shapes=sizes, strict=False)


def make_graph(model: LoadedNet, dtype: str) -> ImageGraph:
    """Return the graph of a loaded net on the CPU; merge its layers where that is exact."""
    net = model.net.cpu()
    net = net.deploy() if hasattr(net, "deploy") else net
    return ImageGraph(net, model.color, dtype == "uint8").eval()


def explain_failure(model: LoadedNet, error: Exception) -> UserError:
    """Return the error for a net that cannot be traced for all sizes."""
    target = model.config["model"]["net"]["_target_"]
    reason = " ".join(str(error).split())[:300]
    return UserError(
        f"checkpoint: {target} cannot be exported for images of any size ({reason}); exporter=safetensors "
        "and backend=torch take every net"
    )
