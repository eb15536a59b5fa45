"""The contract of a metric: what a class that `conf/metric/also/NAME.yaml` names must offer."""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from sr.image.batch import MetricInput


@runtime_checkable
class Metric(Protocol):
    """One number for each image of a batch.

    A new metric is two files, a class that inherits from this one and `conf/metric/also/NAME.yaml`, which names it:

        NAME:
          _target_: my_package.MyMetric

    The class must set `better` and may override the other attributes.
    """

    better: Literal["higher", "lower"]  # which values are better
    unit: str = ""  # such as "dB"; empty for a plain number
    label: str | None = None  # the name in tables and logs; None: the key in `metric.also`
    # 0: the metric measures fidelity, pixel by pixel. Above 0: perceptual quality; monitor_also=auto selects the highest.
    perceptual_rank: int = 0
    needs_reference: bool = True  # False: the metric measures `images.sr` alone

    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`, float64, one value for each image alone; nan where an image has none (too small, no color)."""
        ...
