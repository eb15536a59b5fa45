"""Netpbm: PPM, PGM and PBM."""

from sr.image.pillow_writer import PillowFormat


class NetpbmFormat(PillowFormat):
    """PPM, PGM and PBM."""

    name, suffixes, decoders = "Netpbm", (".ppm", ".pgm", ".pbm", ".pnm"), ("PPM",)
    has_alpha = False


FORMAT = NetpbmFormat()
