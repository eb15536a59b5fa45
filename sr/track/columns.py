"""Names of metrics and images in a tracker that is shared by runs of different protocols."""

from collections.abc import Mapping

from sr.data.module import SRDataModule
from sr.metric.key import MetricKey, SetKey
from sr.metric.protocol import Protocol


def name_columns(values: Mapping[MetricKey, float], data: SRDataModule, protocol: Protocol) -> dict[str, float]:
    """Return the values by the columns of a tracker that many runs share, `val/Set5 x2 edsr/psnr`."""
    return {key.column(protocol, _describe_lr(key, data)): value for key, value in values.items()}


def name_image(key: SetKey, image: str, data: SRDataModule, protocol: Protocol) -> str:
    """Return the name of an image of a set, `val/Set5 x2 edsr/baby`: it stands with the metrics of its set."""
    column = key.metric("psnr").column(protocol, _describe_lr(key, data))
    return f"{column.rpartition('/')[0]}/{image}"


def _describe_lr(key: MetricKey | SetKey, data: SRDataModule) -> str:
    """Return how the LR images of the metric's set are made."""
    names = [data.set_name(key.stage, k) for k in range(len(data.sets[key.stage]))]
    return data.describe_lr(key.stage, names.index(key.set))
