"""A weight file for spandrel (https://github.com/chaiNNer-org/spandrel), by which chaiNNer and others load networks."""

from importlib.util import find_spec
from pathlib import Path

import safetensors.torch
from torch import nn

from sr.checkpoint.load import LoadedNet
from sr.exporter.exporter import Exporter
from sr.net.spandrel import Spandrel
from sr.runtime.error import UserError

KNOWN = ("edsr", "edsr_large", "hat", "rcan", "rrdb", "safmn", "span", "srvgg", "swinir", "swinir_light")


class SpandrelExporter(Exporter):
    """Writes the state dict: parameter names of sr's nets are those of the official code, which spandrel knows.

    A net with a method `to_spandrel` returns it under other names: EDSR as an equal RCAN, because spandrel has no EDSR.
    """

    name, suffix = "spandrel", ".safetensors"

    def write(self, model: LoadedNet, path: Path) -> None:
        if model.color == "y":
            raise UserError("exporter=spandrel: expected a net for RGB or gray (found color=y); use exporter=onnx")
        net = model.net.model if isinstance(model.net, Spandrel) else model.net
        if hasattr(net, "to_spandrel"):
            if net.channels != 3:
                raise UserError(
                    f"exporter=spandrel: expected RGB: {type(net).__name__} of {net.channels} channel(s) is unknown to "
                    "spandrel; use exporter=onnx"
                )
            state = net.to_spandrel()
        else:
            state = net.state_dict()
        if hasattr(net, "deploy"):  # SPAN's official files hold the merged layers as well
            state = net.deploy().state_dict() | state
        state = {name.removeprefix("model."): value.contiguous() for name, value in state.items()}
        safetensors.torch.save_file(state, path)
        self._require_known(model, path)

    def _require_known(self, model: LoadedNet, path: Path) -> None:
        """Raise unless spandrel builds a net of this scale from the file."""
        try:
            scale = self.load(path).scale
        except UserError:
            if find_spec("spandrel") is None:
                raise  # the error says so
            scale = None
        if scale != model.scale:
            found = f"{type(model.net).__name__} ×{model.scale}" + (f", read as ×{scale}" if scale else "")
            raise UserError(
                f"exporter=spandrel: expected a network that spandrel knows, those of model/net={', '.join(KNOWN)} "
                f"(found {found}); exporter=onnx and safetensors take every net"
            )

    def list_sides(self, net: nn.Module) -> tuple[tuple[int, int], ...]:
        """Return multiples of 16: spandrel pads an image to whole windows by replication, the papers by reflection."""
        return tuple((max(h // 16, 1) * 16, max(w // 16, 1) * 16) for h, w in super().list_sides(net))

    def load(self, path: Path) -> nn.Module:
        return Spandrel.from_state_dict(safetensors.torch.load_file(path)).eval()

    def write_usage(self, file: str, model: LoadedNet) -> str:
        return (
            "from spandrel import ModelLoader\n\n"
            f'model = ModelLoader().load_from_file("{file}")\n'
            f"sr = model(lr)  # [B, {model.channels}, h, w] in 0…1 -> [B, {model.channels}, {model.scale}·h, {model.scale}·w]\n"
        )
