"""Import what a training needs into the fork server, so that the trials that it begins have it already.

Nothing here may start a thread or initialize CUDA, neither of which survives a fork.
"""

import gc
import importlib
import os
import signal

from sr.sweep.pool.process import SERVER_VARIABLE

MODULES = (
    "sr.runtime.torchvision_shim",  # before Lightning and torchmetrics
    "sr.config.cli", "sr.training.training", "sr.training.resume_check", "sr.track.mlflow", "sr.model.gan", "sr.data.folder",
    "sr.data.sample", "skimage.data", "sr.degrade.bicubic", "sr.schedule.cosine", "scipy.fftpack",
    "sr.training.report_page", "sr.page.curves", "sr.page.chart", "plotly.graph_objs._figure",
)  # fmt: skip


def prepare_server() -> None:
    """Ignore Ctrl-C and SIGTERM, and import the libraries."""
    # Both reach every process of a sweep, but they are for the trials: these end with a checkpoint, and the server reports
    # their exit codes after that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for name in MODULES:
        importlib.import_module(name)
    importlib.import_module("hydra.core.plugins").Plugins.instance()  # searches all packages for plugins of Hydra
    gc.collect()
    gc.freeze()  # a search for garbage in a trial would copy the pages of all these objects


if SERVER_VARIABLE in os.environ:
    prepare_server()
