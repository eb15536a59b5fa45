"""Keep our signal handlers during a training."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from pytorch_lightning import Callback

from sr.runtime.signals import signals


class InterruptHandler(Callback):
    """The first to hear of an interruption: Lightning turns a deaf ear to Ctrl-C after the first one."""

    def on_exception(self, *_: object) -> None:
        signals.install_handlers()
