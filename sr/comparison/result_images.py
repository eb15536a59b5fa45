"""The pixels of a table's results: HR and LR of its image set, bicubic, and what each run makes of the LR.

Results are computed from the runs' checkpoints by the predictor of `sr.evaluate`, or read from the folder of result images
that was evaluated, and compared with the values that the runs have stored.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor

from sr.checkpoint.interpolate import interpolate_weights
from sr.checkpoint.load import LoadedNet, load_checkpoint
from sr.comparison.run import ComparedRun, SetScore, Table
from sr.comparison.run_config import read_config
from sr.comparison.scene import BICUBIC, ComparedImage
from sr.comparison.selection import METRIC, Source, list_checkpoint_files
from sr.config.build import build_data, build_part, select_device
from sr.evaluation.loading import build_predictor
from sr.evaluation.predictor import NetPredictor, Predictor
from sr.image.bands import show_bands
from sr.image.batch import Pair, stack_images
from sr.image.resize import upscale_bicubic
from sr.image.write import to_uint8
from sr.metric.psnr import psnr
from sr.record.run_folder import CHOICES_FILE
from sr.runtime.error import UserError

BANDS_NOTE = "images of bands are shown in the contrast of their scene: their values are not those that were measured"
TOLERANCE = 0.005  # dB between the stored PSNR of an image and that of its pixels here, on another machine


class ResultImages:
    """The images of one table; `sources` are the run and its results on this set, by key."""

    def __init__(self, table: Table, sources: dict[str, Source], trust: list[str], data: Path | None = None) -> None:
        self.set, self.trust, self.device = table.set, trust, select_device("auto", needs_float64=True)
        self.notes: list[str] = []  # about results that are left out, or have changed
        self._scores = {key: score for key, (_, score) in sources.items()}
        self._labels = {key: run.name for key, (run, _) in sources.items()}
        self._open_data(next(iter(sources.values()))[1].folder, data)
        self._predictors = self._load_predictors(sources)

    @property
    def measure(self) -> str:
        """Name what the protocol measures of an RGB image, for the script of the page: luma or levels."""
        return "luma" if self.protocol.channel == "y" and self.protocol.color != "gray" else "levels"

    def read(self, name: str) -> ComparedImage:
        """Return an image of the set with all results."""
        if name not in self.images.names:
            where = f"in the image set that is there now (found {len(self.images.names)} others)"
            raise UserError(f"expected the image {name} {where}; type paths.data=FOLDER")
        raw = stack_images([self.images[self.images.names.index(name)]])
        raw = raw._replace(hr=raw.hr.to(self.device), lr=None if raw.lr is None else raw.lr.to(self.device))
        pair = self.data.on_after_batch_transfer(raw, 0)
        results = {BICUBIC: upscale_bicubic(pair.lr, self.protocol.scale)}
        for key, predictor in list(self._predictors.items()):
            try:
                results[key] = predictor.predict(pair, [name], self.set, raw.gray)
                self._compare_with_stored(key, name, results[key], pair)
            except UserError as error:  # such as too little memory: the others are shown
                self.notes.append(f"{self._labels[key]}: its images are left out: {error}")
                del self._predictors[key]
        shown = {"lr": pair.lr, "hr": pair.hr, **{f"result {key}": result for key, result in results.items()}}
        if self.protocol.color == "bands":
            shown = dict(zip(shown, show_bands(list(shown.values()), pair.hr), strict=True))
            self.notes += [BANDS_NOTE] * (BANDS_NOTE not in self.notes)
        arrays = {key: _to_array(image) for key, image in shown.items()}
        return ComparedImage(name, arrays["lr"], arrays["hr"], {key: arrays[f"result {key}"] for key in results})

    def _open_data(self, folder: Path, root: Path | None) -> None:
        """Open the image set as the run in `folder` did; all runs of a table have the same images and degradation.

        If the run had its sets in a folder that is not on this machine, they are looked for in `root`.
        """
        config = read_config(folder, self.trust)
        data = config["data"]
        if root is not None and not Path(data["root"]).expanduser().is_dir():
            data["root"] = str(root)
        data["test"] = [name for name in data["test"] if self.set in (name, Path(name).name)]
        self.protocol = build_part(config["metric"], "metric")
        self.data = build_data(config)
        if not self.data.has_panels:
            raise UserError("images of patients are shown only of runs with data.panels=true; evaluate again with it")
        self.data.set_protocol(self.protocol)
        self.data.prepare_data()
        self.data.setup("test")
        (self.images,) = self.data.eval_sets["test"]

    def _load_predictors(self, sources: dict[str, Source]) -> dict[str, Predictor]:
        predictors = {}
        for key, (run, score) in sources.items():
            try:
                predictors[key] = self._load_predictor(run, score)
            except (UserError, OSError, KeyError) as error:
                self.notes.append(f"{run.name}: its images are left out: {error}")
        return predictors

    def _load_predictor(self, run: ComparedRun, score: SetScore) -> Predictor:
        """Return what gave the results that were measured."""
        folder = score.folder
        config, names = read_config(folder, self.trust), {self.set: self.images.names}
        if "images" not in config:  # a training
            return NetPredictor(
                self._load_net(run, score).net, config["scale"], config["color"], self.device, False, None
            )
        choices = yaml.safe_load((folder / CHOICES_FILE).read_text(encoding="utf-8"))
        loaded = None
        if config["checkpoint"] is not None:
            net = config["model"]["net"] if choices.get("model/net") else None
            loaded = self._load_net(run, score, config["scale"], net)
            if config["interpolate"] is not None:
                other, alpha = config["interpolate"], config["alpha"]
                loaded = interpolate_weights(loaded, other, alpha, device=self.device, trust=self.trust, net=net)
        return build_predictor(config, choices, loaded, names, self.protocol, self.device)

    def _load_net(self, run: ComparedRun, score: SetScore, scale: int | None = None, net: Any = None) -> LoadedNet:
        """Load the checkpoint of a run."""
        files = list_checkpoint_files(run, score)
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise UserError(f"checkpoint={files[0]}: there is no such file")
        return load_checkpoint(file, self.device, self.trust, scale, net)

    def _compare_with_stored(self, key: str, name: str, sr: Tensor, pair: Pair) -> None:
        """Note if these are not the pixels that were measured: the weights or the images have changed since."""
        stored = self._scores[key].per_image.get(name, {}).get(METRIC)
        levels = self.protocol.prepare(sr, pair.hr)
        found = psnr(levels.x, levels.y).item()
        if stored is not None and abs(stored - found) > TOLERANCE:
            self.notes.append(
                f"{self._labels[key]}: {name} has {found:.2f} dB here, but {stored:.2f} dB was measured: its weights, the "
                f"images or the version of sr have changed since"
            )


def _to_array(image: Tensor) -> np.ndarray:
    """Convert float 0…1 `[1, C, h, w]` to uint8 `[h, w, 3]`."""
    return to_uint8(image[0].float()).expand(3, -1, -1).permute(1, 2, 0).contiguous().cpu().numpy()
