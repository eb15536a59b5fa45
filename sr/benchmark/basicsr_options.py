"""The networks that BasicSR has as well, and a training as its option file describes it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sr.checkpoint import architecture
from sr.config.build import build_part
from sr.inference.complexity import count_parameters
from sr.runtime.error import UserError

WIDTH = {"width": "num_feat"}
BODY = WIDTH | {"blocks": "num_block"}
ARCHITECTURES = {  # our class -> BasicSR's, and its names of our options; equal weights give equal results
    "sr.net.edsr.EDSR": ("EDSR", BODY | {"scale": "upscale", "res_scale": "res_scale"}),
    "sr.net.rcan.RCAN": ("RCAN", BODY | {"scale": "upscale", "groups": "num_group", "reduction": "squeeze_factor"}),
    "sr.net.rrdb.RRDBNet": ("RRDBNet", BODY | {"scale": "scale", "growth": "num_grow_ch"}),
    "sr.net.srvgg.SRVGGNetCompact": ("SRVGGNetCompact", WIDTH | {"scale": "upscale", "depth": "num_conv"}),
}


class CommonNet(NamedTuple):
    """A network that both sides have."""

    name: str  # as in model/net=name
    options: dict[str, Any]  # of BasicSR's `network_g`
    parameters: int


class Case(NamedTuple):
    """A training of both sides: a network, on batches of patches of the images in `folder`."""

    net: CommonNet
    scale: int
    folder: Path  # with hr and lr
    patch: int  # HR pixels a side
    batch: int


def find_common_nets(config: Mapping[str, Any]) -> list[CommonNet]:
    """Return those of `nets` that BasicSR has as well, and print the names of the others."""
    if config["color"] != "rgb":
        raise UserError(f"color={config['color']}: parts=[basicsr] trains on RGB images; give color=rgb")
    nets, others = [], []
    for name in config["nets"]:
        node = architecture.compose_net_config(name, config["scale"], config["channels"])
        if node["_target_"] not in ARCHITECTURES:
            others.append(name)
            continue
        theirs, names = ARCHITECTURES[node["_target_"]]
        options = {"type": theirs, "num_in_ch": 3, "num_out_ch": 3} | {names[key]: node[key] for key in names}
        nets.append(CommonNet(name, options, count_parameters(build_part(node, "model.net"))))
    if not nets:
        raise UserError(f"nets=[{','.join(others)}]: expected one that BasicSR has as well; give nets=[edsr]")
    if others:
        print(f"parts=[basicsr]: without {', '.join(others)}, which BasicSR does not have", file=sys.stderr)
    return nets


def describe_training(case: Case, steps: int, workers: int, experiments: Path) -> dict[str, Any]:
    """Return the options of BasicSR's train_EDSR_Mx2.yml for a case on the CPU, without validation and TensorBoard."""
    data = {
        "name": "pairs", "type": "PairedImageDataset", "filename_tmpl": "{}", "io_backend": {"type": "disk"},
        "dataroot_gt": str(case.folder / "hr"), "dataroot_lq": str(case.folder / "lr"),
        "gt_size": case.patch, "use_hflip": True, "use_rot": True,
        "num_worker_per_gpu": workers, "batch_size_per_gpu": case.batch, "dataset_enlarge_ratio": 10000,
    }  # fmt: skip
    train = {
        "ema_decay": 0.999, "total_iter": steps, "warmup_iter": -1,
        "optim_g": {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [200000], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    }  # fmt: skip
    return {
        "name": case.net.name, "model_type": "SRModel", "scale": case.scale, "num_gpu": 0, "manual_seed": 10,
        "datasets": {"train": data}, "network_g": case.net.options, "path": {"experiments_root": str(experiments)},
        "train": train, "logger": {"print_freq": 100, "save_checkpoint_freq": 5000, "use_tb_logger": False},
    }  # fmt: skip
