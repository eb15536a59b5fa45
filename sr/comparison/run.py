"""The data of a comparison: runs, groups of runs that differ in the seed alone, tables, and pairs with their verdicts.

`sr.comparison.collect` makes the runs, `group` the groups, `split` the tables; files and pages are written from
`RunComparison` alone.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sr.comparison.verdict import PairResult
from sr.record.result import Metrics


@dataclass(kw_only=True)
class SetScore:
    """The results of one run on one image set under one protocol."""

    set: str
    protocol: dict[str, Any]  # `Protocol.describe()`; `lr` there says how LR is made
    files: dict[str, str] = field(default_factory=dict)  # sha256 by name of the image; empty if it is not known
    means: Metrics  # over all images: {"psnr": …, "ssim": …}
    bicubic: Metrics  # the same of bicubic interpolation
    per_image: dict[str, Metrics]  # {"baby": {"psnr": …, "bicubic_psnr": …}}; empty if only means are known
    ms_per_image: float | None = None
    profile: list[dict[str, Any]] = field(default_factory=list)  # the rows of `sr.evaluate profile=…`
    folder: Path | None = None  # of the run that measured it: an evaluation, or the training itself

    @property
    def scale(self) -> int:
        """The scale of the protocol."""
        return int(self.protocol.get("scale", 0))

    @property
    def digest(self) -> str | None:
        """A digest of the names and contents of the images; None if their contents are not known."""
        if not self.files:
            return None
        return hashlib.sha256(repr(sorted(self.files.items())).encode()).hexdigest()[:12]


@dataclass(kw_only=True)
class ComparedRun:
    """One trained net, or the result images of another program, with everything that was measured of it."""

    id: str  # our own of the run, or the path of its evaluate.json
    name: str  # of its folder
    folder: Path | None = None  # of the training, or of the evaluation if the training is not here
    run_id: str | None = None  # of MLflow
    status: str | None = None
    config: dict[str, Any] = field(default_factory=dict)  # of the training, flattened: {"model.net.width": 32}
    choices: dict[str, str] = field(default_factory=dict)  # of its config groups: {"model.net": "espcn"}
    options: dict[str, str] = field(default_factory=dict)  # those that define the method, without the seed
    seed: int | None = None
    net: str = ""  # name of the net, or of the folder of result images
    parameters: int | None = None
    multiply_adds: int | None = None  # for an output of 1280×720 pixels
    ntire_score: float | None = None  # measured on the machine of the run
    checkpoint: str | None = None  # its path
    checkpoint_sha256: str | None = None
    scores: list[SetScore] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_downloaded: bool = False  # from MLflow, to folders that are removed after the comparison


class Skipped(NamedTuple):
    """A run that is not compared, and why."""

    name: str
    reason: str


@dataclass(kw_only=True)
class Group:
    """Runs of one method: their options are equal but for the seed."""

    name: str  # from the options that differ between groups: `espcn l1`
    runs: list[ComparedRun]
    differing: dict[str, str] = field(
        default_factory=dict
    )  # the options that differ between groups, and their values here


class Measure(NamedTuple):
    """A metric as tables show it."""

    name: str  # its key: `psnr`
    title: str  # `PSNR`
    digits: int  # after the point
    better: Literal["higher", "lower"] | None  # None: not known, so that nothing is marked
    unit: str = ""


class TableCell(NamedTuple):
    """A metric of one row: the mean over its runs of their means over the images."""

    mean: float
    deviation: float | None = None  # sample standard deviation over the runs; None of one run
    difference: float | None = None  # to the mean of the reference
    runs: int = 1  # that have a value: of an older evaluation some metrics may be missing


@dataclass(kw_only=True)
class TableRow:
    """A row of a table: a group, bicubic interpolation, or a published model."""

    name: str
    kind: Literal["group", "bicubic", "published"] = "group"
    cells: dict[str, TableCell]  # by name of the metric
    group: Group | None = None
    runs: list[ComparedRun] = field(default_factory=list)  # those of the group that have a result here
    scores: list[SetScore] = field(default_factory=list)  # their results, in the same order
    parameters: int | None = None
    multiply_adds: int | None = None
    ntire_score: float | None = None
    ms_per_image: float | None = None
    source: str = ""  # of a published row

    @property
    def count(self) -> int:
        """The number of runs."""
        return len(self.runs)


@dataclass(kw_only=True)
class GroupPair:
    """Two groups of one table that are compared image by image."""

    first: str  # name of a group
    second: str
    metric: str
    images: list[str]  # those that both have
    result: PairResult  # of the first against the second
    sentence: str  # the verdict in words
    power: str = ""  # in words: how likely a difference of `power=` is found, and what it takes


@dataclass(kw_only=True)
class Table:
    """The results on one image set, all under one protocol, at one scale, with one degradation, of the same images."""

    set: str
    scale: int
    protocol: dict[str, Any]
    images: list[str]  # that all groups have, and that all values are means of; empty if only means are known
    digest: str | None  # of the content of these images
    measures: list[Measure]
    rows: list[TableRow]
    reference: str  # name of the row that differences are to
    pairs: list[GroupPair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    title: str = ""  # `Set5 ×2, protocol edsr`, and what else differs from the other tables


@dataclass(kw_only=True)
class RunComparison:
    """All that is compared, and what is not."""

    groups: list[Group]
    tables: list[Table]
    options: list[str] = field(default_factory=list)  # that differ between groups: columns of the table of options
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
