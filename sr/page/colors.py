"""The colors of groups, the same in all charts and in the image viewer."""

# By M. Okabe and K. Ito, distinguishable for color-blind readers, and two more.
GROUP_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#6b8e23")
BASELINE_COLOR = "#8a8f98"  # of bicubic, LR, HR and published models


def get_color(index: int) -> str:
    """Return the color of the group at this index."""
    return GROUP_COLORS[index % len(GROUP_COLORS)]
