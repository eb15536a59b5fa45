"""Handle Ctrl-C and SIGTERM during a training with the signal handlers of sr, not with Lightning's."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from pytorch_lightning import Callback

from sr.runtime.signals import signals


class InterruptHandler(Callback):
    """Installs the handlers again after an exception: Lightning ignores Ctrl-C after the first one. It must be the first
    callback."""

    def on_exception(self, *_: object) -> None:
        signals.install_handlers()
