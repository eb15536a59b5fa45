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
    takes_mask: bool = (
        False  # True: it leaves out pixels without data, `images.valid`; False: an image with any has no value
    )
    min_side: int = 0  # pixels of a side of the whole result; a smaller one has no value
    needs_previous: bool = False  # True: of clips; the second argument is the input of the frames before, None without
    definition: str = ""  # what the number depends on, stored with the results

    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`, float64, one value for each image alone; nan where an image has none (too small, no color)."""
        ...
