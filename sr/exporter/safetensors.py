"""safetensors (https://github.com/huggingface/safetensors): weights that are read without executing anything."""

from pathlib import Path

from torch import nn

from sr.checkpoint.graph import ImageGraph
from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.exporter.exporter import Exporter
from sr.pretrained.weight_file import write_weights


class SafetensorsExporter(Exporter):
    """Writes the weights, and in the file's metadata the options of their net."""

    name, suffix, tolerance = "safetensors", ".safetensors", 0.0

    def write(self, model: LoadedNet, path: Path) -> None:
        write_weights(path, model.net.state_dict(), model.config)

    def load(self, path: Path) -> nn.Module:
        model = load_checkpoint(path)
        return ImageGraph(model.net, model.color)

    def write_usage(self, file: str, model: LoadedNet) -> str:
        return (
            "from PIL import Image\n\nimport sr\n\n"
            f'result = sr.upscale(sr.load("{file}"), Image.open("photo.jpg"))\n'
            f'result.save("photo_x{model.scale}.png")\n'
        )
