"""Describe the standard way to make LR. It imports no torch, so that results can be read without it."""


def describe_standard_lr(scale: int) -> str:
    """Return the degradation of all published tables, as `SRDataModule.describe_lr` writes it.

    This text is stored in every evaluate.json and must never change.
    """
    return f"Bicubic(scale={scale}, border=mirror)"


def describe_rounding(lr: str, channel: str) -> str:
    """Return how LR is made under a protocol with this channel: of `y8` it is not rounded."""
    return f"{lr}{', not rounded' if channel == 'y8' else ''}"
