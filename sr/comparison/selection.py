"""Select the test images and the runs that the page shows: the images that the groups disagree about most."""

import math
from collections.abc import Sequence
from pathlib import Path

from sr.comparison.run import ComparedRun, SetScore, Table, TableRow
from sr.pretrained.networks import find_network
from sr.record.checkpoint_files import BEST
from sr.record.run_folder import CONFIG_FILE

Source = tuple[ComparedRun, SetScore]
METRIC = "psnr"
BICUBIC_PREFIX = "bicubic_"  # before the name of a metric of an image


def select_run(row: TableRow) -> Source | None:
    """Return the run that stands for a group, with its results: the one of median PSNR, of two the lower; None without.

    Images of all seeds would make the page too large, and those of the best one would be too good.
    """
    if row.group is None:
        return None
    candidates = [
        (run, score)
        for run, score in zip(row.runs, row.scores, strict=True)
        if score.per_image and score.folder is not None and METRIC in score.means
    ]
    candidates.sort(key=lambda pair: pair[1].means[METRIC])
    return candidates[(len(candidates) - 1) // 2] if candidates else None


def has_images(run: ComparedRun, score: SetScore) -> bool:
    """Return whether there may be result images of a run: its checkpoint, a net without weights, or a folder of images."""
    if score.folder is None or not (score.folder / CONFIG_FILE).is_file():
        return False
    return run.checkpoint is None or any(file.is_file() for file in list_checkpoint_files(run, score))


def list_checkpoint_files(run: ComparedRun, score: SetScore) -> list[Path]:
    """Return where the checkpoint of a run may be: where it was, or in a folder that was moved."""
    network = find_network(run.checkpoint or BEST)
    file = (network and network.find_file()) or Path(run.checkpoint or BEST)
    folders = [folder for folder in (run.folder, score.folder) if folder is not None]
    return [*([file] if run.checkpoint else []), *(folder / file.name for folder in folders)]


def select_images(tables: Sequence[Table], count: int | None) -> list[list[str]]:
    """Return for each table the images to show, those of the largest disagreement first; `count` is that of all tables.

    Each table with results of single images has at least one, if `count` allows it; None: all images.
    """
    ranked = [_rank_images(table) for table in tables]
    if count is None:
        return [[name for _, name in images] for images in ranked]
    first = [(-images[0][0], k, 0) for k, images in enumerate(ranked) if images]
    others = [(-value, k, rank) for k, images in enumerate(ranked) for rank, (value, _) in enumerate(images) if rank]
    chosen = [*sorted(first), *sorted(others)][:count]
    return [
        [name for rank, (_, name) in enumerate(images) if any(c[1:] == (k, rank) for c in chosen)]
        for k, images in enumerate(ranked)
    ]


def _rank_images(table: Table) -> list[tuple[float, str]]:
    """Return (dB, name) of each image: by how much the groups' means over their seeds differ, the largest first."""
    values = [{name: _compute_mean(row, name, METRIC) for name in table.images} for row in table.rows if row.scores]
    if len(values) == 1:
        row = next(row for row in table.rows if row.scores)
        values.append({name: _compute_mean(row, name, f"{BICUBIC_PREFIX}{METRIC}") for name in table.images})
    ranked = []
    for name in table.images:
        finite = [group[name] for group in values if math.isfinite(group[name])]
        if finite:
            ranked.append((max(finite) - min(finite), name))
    return sorted(ranked, key=lambda pair: (-pair[0], pair[1]))


def _compute_mean(row: TableRow, image: str, metric: str) -> float:
    """Return the mean over a row's runs of a metric of one image; NaN if a run does not have it."""
    values = [score.per_image.get(image, {}).get(metric, math.nan) for score in row.scores]
    return sum(values) / len(values) if values else math.nan
