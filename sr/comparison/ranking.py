"""Draw the critical differences of four groups or more (J. Demšar 2006, https://jmlr.org/papers/v7/demsar06a.html).

Demšar's Nemenyi test is replaced by the verdicts of the pairs, as A. Benavoli et al. 2016 recommend
(https://jmlr.org/papers/v17/benavoli16a.html): a test of mean ranks depends on which other groups are in the table, and
knows nothing of seeds. A bar therefore connects groups of which no two are distinguished in the table; a dot
marks each of them, for verdicts need not follow the order of the ranks.
"""

import io
from collections.abc import Mapping

import numpy as np

from sr.comparison.verdict import PairResult, Verdict, format_p

LEAST_GROUPS = 4


def rank_groups(groups: Mapping[str, np.ndarray], higher_is_better: bool = True) -> tuple[dict[str, float], float, int]:
    """Return each group's mean rank, 1 is best, p of Friedman's test that all are equal, and the number of images.

    Args:
        groups: name -> `[seeds, images]`, at least three groups on the same images; the mean over seeds is ranked.
        higher_is_better: False for distances, such as LPIPS.
    """
    from scipy import stats

    means = np.stack([np.atleast_2d(values).mean(axis=0) for values in groups.values()])  # [groups, images]
    means = means[:, np.isfinite(means).all(axis=0)]
    if not means.shape[1]:
        return dict.fromkeys(groups, (len(groups) + 1) / 2), 1.0, 0
    ranks = stats.rankdata(-means if higher_is_better else means, axis=0).mean(axis=1)
    has_difference = bool((np.ptp(means, axis=0) > 0).any())
    p = float(stats.friedmanchisquare(*means).pvalue) if has_difference else 1.0
    return dict(zip(groups, map(float, ranks), strict=True)), p, means.shape[1]


def draw_critical_differences(
    groups: Mapping[str, np.ndarray],
    pairs: Mapping[tuple[str, str], PairResult],
    higher_is_better: bool = True,
    file_format: str = "svg",
) -> bytes:
    """Return the diagram as an SVG or PNG file.

    Args:
        groups: name -> `[seeds, images]`, at least four, on the same images.
        pairs: the corrected result of each pair of names, in either order.
        higher_is_better: False for distances, such as LPIPS.
        file_format: `svg` or `png`.
    """
    import matplotlib as mpl
    import pandas as pd
    from matplotlib.figure import Figure
    from scikit_posthocs import critical_difference_diagram

    if len(groups) < LEAST_GROUPS:
        raise ValueError(f"expected at least {LEAST_GROUPS} groups (found {len(groups)})")
    ranks, p, images = rank_groups(groups, higher_is_better)
    significance = pd.DataFrame(1.0, index=list(groups), columns=list(groups))
    for (first, second), pair in pairs.items():
        if pair.verdict in {Verdict.BETTER, Verdict.WORSE}:
            significance.loc[first, second] = significance.loc[second, first] = 0.0
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(groups)), layout="constrained")
    axes = figure.add_subplot()
    critical_difference_diagram(ranks, significance, ax=axes, crossbar_props={"marker": "o", "markersize": 4})
    title = f"mean rank over {images} images, 1 is best; Friedman's test of all: {format_p(p)}"
    figure.suptitle(f"{title}\na bar connects, at its dots, groups of which no two are distinguished", fontsize=10)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "sr", "svg.fonttype": "none"}):
        metadata = {"Date": None} if file_format == "svg" else None  # equal input, equal bytes
        figure.savefig(buffer, format=file_format, metadata=metadata)
    return buffer.getvalue()
