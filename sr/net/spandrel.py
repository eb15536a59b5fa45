"""Any of spandrel's architectures (https://github.com/chaiNNer-org/spandrel), detected from the names in a weight file.

An optional extra: pip install 'sr[zoo]'. It detects 42 architectures, among them SwinIR, HAT, DAT, CRAFT, SPAN, SAFMN and
Real-ESRGAN's compact net, and their sizes. The file is read by `sr.pretrained`, which executes nothing that is in it.
"""

from pathlib import Path
from types import ModuleType
from typing import Self

from torch import Tensor, nn
from torch.nn import functional as F

from sr.pretrained.state_dict import State, read_weights, unwrap_state_dict
from sr.runtime import torchvision_shim
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr


class Spandrel(nn.Module):
    """The network of a weight file (.pth, .pt, .ckpt, .safetensors), with its weights; it can be trained further.

    `scale` and `channels` are checked against the file's; None accepts those of the file.
    """

    def __init__(self, file: PathStr | None = None, scale: int | None = None, channels: int | None = None) -> None:
        super().__init__()
        if file is None:
            raise UserError("model.net.file=null: expected a weight file: model.net.file=PATH (.pth or .safetensors)")
        self._detect(_read(file), f"model.net.file={file}", scale, channels)

    @classmethod
    def from_state_dict(cls, state: State, scale: int | None = None, channels: int | None = None) -> Self:
        """Return the network of a state dict, with these weights."""
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        net._detect(state, "the weights", scale, channels)
        return net

    def _detect(self, state: State, source: str, scale: int | None, channels: int | None) -> None:
        """Let spandrel build the net of a state dict, and check its scale and channels; `source` begins the messages."""
        spandrel = _import_spandrel()
        try:
            model = spandrel.ModelLoader().load_from_state_dict(state)
        except spandrel.UnsupportedModelError:
            names = ", ".join(list(state)[:3])
            raise UserError(
                f"{source}: none of spandrel's {len(spandrel.MAIN_REGISTRY)} architectures has such weights ({names}, …); "
                "if it is a net of sr, choose it by name: model/net=…"
            ) from None
        except (RuntimeError, KeyError, ValueError, AssertionError) as error:
            raise UserError(f"{source}: spandrel cannot build it ({' '.join(str(error).split())[:200]})") from None
        name, c_in, c_out = model.architecture.name, model.input_channels, model.output_channels
        if not isinstance(model, spandrel.ImageModelDescriptor) or c_in != c_out:
            raise UserError(
                f"{source} is {name}, {c_in} channels to {c_out}: expected a net with as many channels in as out"
            )
        if scale not in (None, model.scale):
            raise UserError(f"{source} is {name} ×{model.scale}, but scale={scale}: use scale={model.scale}")
        if channels not in (None, c_in):
            raise UserError(
                f"{source} is {name} of {c_in} channels, but color= gives {channels}: rgb has 3, y and gray 1"
            )
        self.scale, self.channels, self.architecture = model.scale, c_in, name
        self.receptive_field = None  # spandrel does not provide it
        self.model = model.model
        self._padding = model.size_requirements.get_padding
        self._call = model._call_fn  # a few architectures use another value range, or return a list

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[2:]
        # Pad to the size that the architecture's windows need; copy in any case, because RCAN's code works in place.
        right, bottom = self._padding(w, h)
        x = F.pad(lr, (0, right, 0, bottom), mode="replicate") if right or bottom else lr.clone()
        return self._call(self.model, x)[..., : self.scale * h, : self.scale * w]  # [B, C, h, w] -> [B, C, s·h, s·w]


def _read(file: str) -> State:
    try:
        return unwrap_state_dict(read_weights(Path(file)))
    except UserError as error:
        raise UserError(str(error).replace("checkpoint=", "model.net.file=", 1)) from None


def _import_spandrel() -> ModuleType:
    torchvision_shim.install()
    try:
        import spandrel
    except ImportError as error:
        raise UserError(f"model/net=spandrel needs spandrel ({error}): pip install 'sr[zoo]'") from None
    return spandrel
