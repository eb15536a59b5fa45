"""The options of each command that belong to no part, with their types; `conf/COMMAND.yaml` explains each of them."""

from collections.abc import Sequence
from typing import Literal, TypedDict

from sr.runtime.option_types import (
    Color,
    Cost,
    Fraction,
    FurtherCost,
    NonEmptyStr,
    NonNegativeFloat,
    NonNegativeInt,
    PathStr,
    Perf,
    Port,
    PositiveFloat,
    PositiveInt,
    Quality,
    Scale,
    Seed,
    Stage,
)


class Paths(TypedDict):
    """The folders of data, runs and caches."""

    data: PathStr
    runs: PathStr
    cache: PathStr


class RunOptions(TypedDict):
    """The options that all parts share, of `sr.run` and of all commands that begin with its config."""

    scale: Scale
    color: Color
    channels: PositiveInt | None
    seed: Seed
    progress: bool
    stages: Sequence[Stage]
    cost: Sequence[Cost]
    resume: PathStr | None
    perf: Perf
    trust: Sequence[NonEmptyStr]
    checkpoint_minutes: PositiveFloat | None
    checkpoint_steps: PositiveInt | None
    patience: PositiveInt | None
    monitor: NonEmptyStr
    monitor_also: NonEmptyStr | None
    paths: Paths


class InspectOptions(RunOptions):
    """The options of `sr.inspect`."""

    expect: NonEmptyStr
    out: PathStr


class BenchOptions(RunOptions):
    """The options of `sr.bench`."""

    parts: Sequence[NonEmptyStr]
    images: Sequence[NonEmptyStr]
    checkpoint: PathStr
    nets: Sequence[NonEmptyStr]
    basicsr: PathStr | None
    rounds: PositiveInt
    steps: PositiveInt
    seconds: PositiveFloat
    threads: PositiveInt
    files: PositiveInt
    out: PathStr
    against: PathStr | None


class EvaluateOptions(TypedDict):
    """The options of `sr.evaluate`."""

    checkpoint: PathStr | None
    interpolate: PathStr | None
    alpha: Fraction | None
    images: PathStr | None
    input: PathStr | None
    published: NonEmptyStr | None
    against: PathStr | None
    scale: Scale | None
    color: Color | None
    channels: PositiveInt | None
    ensemble: bool
    uncertainty: bool | PathStr | Sequence[PathStr]
    cost: Sequence[FurtherCost]
    tile: PositiveInt | None
    device: NonEmptyStr
    trust: Sequence[NonEmptyStr]
    seed: Seed
    progress: bool
    paths: Paths


class CachePath(TypedDict):
    """The folder of the cache."""

    cache: PathStr


class PredictOptions(TypedDict):
    """The options of `sr.predict`."""

    checkpoint: PathStr | None
    interpolate: PathStr | None
    alpha: Fraction | None
    input: PathStr | Sequence[PathStr]
    recursive: bool
    output: PathStr | None
    format: NonEmptyStr | None
    quality: Quality | None
    depth: Literal[8, 16] | None
    codec: NonEmptyStr | None
    crf: NonNegativeInt | None
    scale: Scale | None
    outscale: PositiveFloat | None
    size: NonEmptyStr | None
    ensemble: bool
    tile: PositiveInt | None
    overlap: NonNegativeInt | None
    memory: PositiveInt | NonEmptyStr | None
    bands: Sequence[PositiveInt] | None
    axis: Literal["x", "y", "z"] | None
    range: Sequence[float] | NonEmptyStr | None
    overwrite: bool
    preview: bool
    niqe: bool
    uncertainty: bool | PathStr | Sequence[PathStr]
    device: NonEmptyStr
    backend: Literal["torch", "onnxruntime", "openvino"] | None
    precision: Literal["fp32", "bf16"]
    engine: Literal["auto", "none", "process", "ray"]
    workers: PositiveInt | None
    address: NonEmptyStr | None
    gpus: NonNegativeFloat | None
    trust: Sequence[NonEmptyStr]
    progress: bool
    paths: CachePath


class ExportOptions(TypedDict):
    """The options of `sr.export`."""

    checkpoint: PathStr
    output: PathStr | None
    scale: Scale | None
    interpolate: PathStr | None
    alpha: Fraction | None
    license: NonEmptyStr | None
    overwrite: bool
    trust: Sequence[NonEmptyStr]


class RunsPath(TypedDict):
    """The folder of runs."""

    runs: PathStr


class RegisterOptions(TypedDict):
    """The options of `sr.register`."""

    run: PathStr
    name: NonEmptyStr
    alias: NonEmptyStr
    monitor: NonEmptyStr
    sets: Sequence[NonEmptyStr] | None
    force: bool
    license: NonEmptyStr | None
    uri: NonEmptyStr | None
    trust: Sequence[NonEmptyStr]
    paths: RunsPath


class ServeOptions(TypedDict):
    """The options of `sr.serve`."""

    checkpoint: PathStr | None
    scale: Scale | None
    host: NonEmptyStr
    port: Port
    hosts: Sequence[NonEmptyStr] | None
    formats: Sequence[NonEmptyStr]
    max_bytes: PositiveInt | NonEmptyStr
    max_pixels: PositiveInt
    queue: PositiveInt
    timeout: PositiveFloat
    upload_timeout: PositiveFloat
    workers: PositiveInt
    batch: bool
    ensemble: bool
    interpolate: PathStr | None
    alpha: Fraction | None
    memory: PositiveInt | NonEmptyStr | None
    device: NonEmptyStr
    license: NonEmptyStr | None
    log: bool
    trust: Sequence[NonEmptyStr]


class VerifyOptions(TypedDict):
    """The options of `sr.verify`."""

    sets: Sequence[NonEmptyStr]
    scales: Sequence[Scale]
    protocols: Sequence[Literal["edsr", "vdsr"]]
    out: PathStr
    progress: bool
    paths: Paths


class CompareOptions(TypedDict):
    """The options of `sr.compare`."""

    runs: PathStr | Sequence[PathStr]
    filter: NonEmptyStr | None
    reference: PathStr | None
    published: Sequence[NonEmptyStr]
    columns: Sequence[NonEmptyStr] | None
    power: PositiveFloat | None
    images: NonNegativeInt | Literal["all"]
    trust: Sequence[NonEmptyStr]
    output: PathStr | None
    progress: bool
    paths: Paths


class CleanOptions(TypedDict):
    """The options of `sr.clean`."""

    what: Sequence[NonEmptyStr]
    days: NonNegativeFloat
    apply: bool
    paths: Paths


class SyncOptions(TypedDict):
    """The options of `sr.sync`."""

    folders: Sequence[PathStr]
    uri: NonEmptyStr | None
    paths: Paths


class ReproducePaths(TypedDict):
    """The folders of `sr.reproduce`, which takes that of the data from the run unless it is typed."""

    data: PathStr | None
    runs: PathStr
    cache: PathStr


class ReproduceOptions(TypedDict):
    """The options of `sr.reproduce`."""

    run: PathStr
    uri: NonEmptyStr | None
    dry: bool
    force: bool
    tolerance: NonNegativeFloat
    repository: PathStr | None
    trust: Sequence[NonEmptyStr]
    progress: bool
    paths: ReproducePaths
