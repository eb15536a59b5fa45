"""Import what a training needs into the fork server, so that the trials that it begins have it already.

Nothing here may start a thread or initialize CUDA, neither of which survives a fork.
"""

import gc
import importlib
import signal

MODULES = (
    "sr.runtime.torchvision_shim",  # before Lightning and torchmetrics
    "sr.config.cli", "sr.training.training", "sr.training.resume_check", "sr.track.mlflow", "sr.model.gan", "sr.data.folder",
    "sr.data.sample", "skimage.data", "sr.degrade.bicubic", "sr.schedule.cosine", "scipy.fftpack",
    "sr.training.report_page", "sr.page.curves", "sr.page.chart", "plotly.graph_objs._figure",
)  # fmt: skip

# Ctrl-C and SIGTERM reach every process of a sweep, but they are for the trials: these end with a checkpoint, and the
# server reports their exit codes after that.
for _number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_number, signal.SIG_IGN)
for _name in MODULES:
    importlib.import_module(_name)
importlib.import_module("hydra.core.plugins").Plugins.instance()  # searches all packages for plugins of Hydra
gc.collect()
gc.freeze()  # a search for garbage in a trial would copy the pages of all these objects
