"""Any of spandrel's architectures (https://github.com/chaiNNer-org/spandrel), recognised by the names in a weight file.

An optional extra: pip install 'sr[zoo]'. It knows 42 architectures, among them SwinIR, HAT, DAT, CRAFT, SPAN, SAFMN and
Real-ESRGAN's compact net, and works out their sizes from the weights; files are read here, without running code of theirs.
"""

from pathlib import Path
from types import ModuleType
from typing import Self

from torch import Tensor, nn
from torch.nn import functional as F

from sr.pretrained.state_dict import State, read_weights, unwrap_state_dict
from sr.runtime import torchvision_shim
from sr.runtime.error import UserError


class Spandrel(nn.Module):
    """The network of a weight file (.pth, .pt, .ckpt, .safetensors), with its weights; it can be trained on.

    `scale` and `channels` are checked against the file's; None takes what the file has.
    """

    def __init__(self, file: str | None = None, scale: int | None = None, channels: int | None = None) -> None:
        super().__init__()
        if file is None:
            raise UserError("model.net.file=null: expected a weight file: model.net.file=PATH (.pth or .safetensors)")
        self._adopt(_read(file), f"model.net.file={file}", scale, channels)

    @classmethod
    def recognise(cls, state: State, scale: int | None = None, channels: int | None = None) -> Self:
        """The network of a state dict that was read already."""
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        net._adopt(state, "the weights", scale, channels)
        return net

    def _adopt(self, state: State, where: str, scale: int | None, channels: int | None) -> None:
        """Let spandrel find the architecture, and see that it enlarges as it should."""
        spandrel = _spandrel()
        try:
            found = spandrel.ModelLoader().load_from_state_dict(state)
        except spandrel.UnsupportedModelError:
            some = ", ".join(list(state)[:3])
            raise UserError(
                f"{where}: none of spandrel's {len(spandrel.MAIN_REGISTRY)} architectures has such weights ({some}, …); "
                "if it is one of our nets, choose it by name: model/net=…"
            ) from None
        except (RuntimeError, KeyError, ValueError, AssertionError) as error:
            raise UserError(f"{where}: spandrel cannot build it ({' '.join(str(error).split())[:200]})") from None
        name, c_in, c_out = found.architecture.name, found.input_channels, found.output_channels
        if not isinstance(found, spandrel.ImageModelDescriptor) or c_in != c_out:
            raise UserError(f"{where} is {name}, {c_in} channels to {c_out}: expected a net from images to like images")
        if scale not in (None, found.scale):
            raise UserError(f"{where} is {name} ×{found.scale}, but scale={scale}: say scale={found.scale}")
        if channels not in (None, c_in):
            raise UserError(
                f"{where} is {name} of {c_in} channels, but color= gives {channels}: rgb has 3, y and gray 1"
            )
        self.scale, self.channels, self.architecture = found.scale, c_in, name
        self.receptive_field = None  # spandrel does not say
        self.model = found.model
        self._padding = found.size_requirements.get_padding
        self._call = found._call_fn  # a few architectures want another range, or give a list

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[2:]
        right, below = self._padding(w, h)
        # as large as the architecture's windows need; a copy in any case, for RCAN's code works in place
        x = F.pad(lr, (0, right, 0, below), mode="replicate") if right or below else lr.clone()
        return self._call(self.model, x)[..., : self.scale * h, : self.scale * w]  # [B, C, h, w] -> [B, C, s·h, s·w]


def _read(file: str) -> State:
    try:
        return unwrap_state_dict(read_weights(Path(file)))
    except UserError as error:
        raise UserError(str(error).replace("checkpoint=", "model.net.file=", 1)) from None


def _spandrel() -> ModuleType:
    torchvision_shim.install()
    try:
        import spandrel
    except ImportError as error:
        raise UserError(f"model/net=spandrel needs spandrel ({error}): pip install 'sr[zoo]'") from None
    return spandrel
