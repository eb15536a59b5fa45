"""Draw the example of an input that a registered model comes with."""

import io

from PIL import Image

from sr.checkpoint.load import LoadedNet

SIZE = (24, 16)  # width and height in pixels


def draw_example(model: LoadedNet) -> bytes | None:
    """Return a small PNG of color ramps; None for a net on bands, which no PNG file has."""
    if model.color == "bands":
        return None
    ramp = Image.linear_gradient("L").resize(SIZE)
    image = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.ROTATE_180), Image.new("L", SIZE, 128)))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
