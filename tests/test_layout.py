"""The memory format of nets for training, prediction and evaluation."""

import torch
from torch import Tensor, nn

from sr.inference.layout import convert_input, prepare_net
from sr.model import layout


class AcrossBands(nn.Module):
    """Upscales by 2; a 3D convolution reads neighboring bands."""

    scale, channels, receptive_field = 2, 4, None

    def __init__(self) -> None:
        super().__init__()
        self.bands = nn.Conv3d(1, 1, 3, padding=1)
        self.head = nn.Conv2d(4, 16, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.head(self.bands(lr[:, None])[:, 0]), 2)


def test_a_net_with_3d_convolutions_computes_the_same_in_the_fast_format() -> None:
    net, lr = AcrossBands(), torch.rand(1, 4, 9, 7)
    with torch.no_grad():
        expected = net(lr)
        net = prepare_net(net, torch.device("cpu"))
        torch.testing.assert_close(net(convert_input(lr)), expected)
    assert net.head.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_net_with_3d_convolutions_is_trained_in_the_fast_format() -> None:
    net = AcrossBands()
    layout.prepare_net(net, channels_last=True, compile=False)
    net(torch.rand(1, 4, 9, 7)).sum().backward()
    assert net.head.weight.is_contiguous(memory_format=torch.channels_last)
    assert net.bands.weight.grad is not None
