"""Write the folders of runs that never ran: what `sr.run` and `sr.evaluate` leave, with results of our own."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sr.record.identity import Identity, write_identity
from sr.record.result import (
    EvaluationResult,
    ImageResults,
    SetResult,
    TrainingResult,
    image_results_to_json,
    set_results_to_json,
)
from sr.record.run_folder import collect_options

Values = Mapping[str, Mapping[str, float | tuple[float, ...]]]  # {"Set5": {"baby": 30.0}}, or (PSNR, SSIM) of an image
BICUBIC = (28.0, 0.8)


def describe_protocol(scale: int = 2, name: str = "edsr", lr: str | None = None) -> dict[str, Any]:
    channel = {"edsr": "y", "vdsr": "y8", "ntire": "rgb"}[name]
    return {
        "protocol": name, "channel": channel, "scale": scale, "border": scale, "rounding": "8 bit",
        "psnr": "peak 255, mean of images", "ssim": "11×11 Gaussian 1.5, valid, mean of images",
        "lr": lr or f"Bicubic(scale={scale}, border=mirror)" + ", not rounded" * (channel == "y8"),
    }  # fmt: skip


def make_training(
    runs: Path, name: str, values: Values, *, net: str = "espcn", loss: str = "l1", seed: int = 0, scale: int = 2,
    status: str = "FINISHED", options: Mapping[str, Any] | None = None, protocol: Mapping[str, Any] | None = None,
    content: Mapping[str, str] | None = None, run_id: str | None = None, **identity: Any,
) -> Path:  # fmt: skip
    """Write the run of a training with these test results, and return its folder.

    `options` are further ones by dotted key, `content` the words that the digests of some images are made of.
    """
    folder = runs / name
    folder.mkdir(parents=True)
    config = _make_config(runs, net, loss, seed, scale)
    for key, value in (options or {}).items():
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    choices = {
        "model": "cnn",
        "model/net": net,
        "model/loss": loss,
        "data": "folder",
        "metric": "edsr",
        "track": "journal",
    }
    protocol = dict(protocol or describe_protocol(scale))
    images = {name: {image: _name_values(value) for image, value in part.items()} for name, part in values.items()}
    best = folder / "best.ckpt"
    best.write_bytes(name.encode())
    sha256 = hashlib.sha256(best.read_bytes()).hexdigest()
    result = TrainingResult(status=status, protocol=protocol, checkpoint=str(best), checkpoint_sha256=sha256, steps=100)
    files = collect_options(config, choices, [])
    files["summary.json"] = result.to_json().encode()
    if images:
        stored = {
            f"test/{key}": ImageResults(protocol=protocol["protocol"], images=part) for key, part in images.items()
        }
        files["per_image.json"] = image_results_to_json(stored).encode()
    files["data.json"] = json.dumps(
        {"train": {"T91": {"digest": "d" * 32}}, **_describe_data(images, protocol, content)}
    ).encode()
    _write(folder, files, Identity(run_id=run_id, experiment="sr", command="run", status=status, **identity))
    return folder


def make_evaluation(
    runs: Path, name: str, values: Values, *, checkpoint: Path | None = None, images: str | None = None, net: str = "ESPCN",
    scale: int = 2, protocol: Mapping[str, Any] | None = None, content: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None, ms: float | None = 12.0, run_id: str | None = None,
) -> Path:  # fmt: skip
    """Write the run of an evaluation of a checkpoint, or of result images, and return its folder."""
    folder = runs / name
    folder.mkdir(parents=True)
    protocol = dict(protocol or describe_protocol(scale))
    per_set = {name: {image: _name_values(value) for image, value in part.items()} for name, part in values.items()}
    sets = {}
    for key, part in per_set.items():
        means, bicubic = _compute_means(part)
        sets[key] = SetResult(count=len(part), metrics=means, bicubic=bicubic, per_image=part, protocol=protocol,
                              ms_per_image=None if images else ms)  # fmt: skip
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest() if checkpoint else None
    is_net = images is None
    result = EvaluationResult(
        status="FINISHED", net="images" if images else net, scale=scale, images=images,
        checkpoint=str(checkpoint) if checkpoint else None, checkpoint_sha256=sha256,
        parameters=26796 if is_net else None, multiply_adds_1280x720=6_148_915_200 if is_net else None,
    )  # fmt: skip
    config = {"checkpoint": result.checkpoint, "images": images, "scale": scale, "seed": 0, "ensemble": False, "tile": None,
              "interpolate": None, "alpha": None, **(options or {})}  # fmt: skip
    files = collect_options(config, {"metric": protocol["protocol"], "data": "benchmark"}, [])
    files |= {"evaluate.json": set_results_to_json(sets).encode(), "summary.json": result.to_json().encode()}
    files["data.json"] = json.dumps(_describe_data(per_set, protocol, content)).encode()
    _write(folder, files, Identity(run_id=run_id, experiment="sr", command="evaluate", status="FINISHED"))
    return folder


def _write(folder: Path, files: Mapping[str, bytes], identity: Identity) -> None:
    identity.id = uuid.uuid5(uuid.NAMESPACE_URL, str(folder)).hex
    for name, content in files.items():
        (folder / name).write_bytes(content)
    write_identity(folder, identity)


def _name_values(value: float | tuple[float, ...]) -> dict[str, float]:
    values = value if isinstance(value, tuple) else (value, value / 40)
    return dict(
        zip(("psnr", "ssim", "bicubic_psnr", "bicubic_ssim"), [*values, *BICUBIC[len(values) - 2 :]], strict=False)
    )


def _compute_means(per_image: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    means = {key: sum(v[key] for v in per_image.values()) / len(per_image) for key in next(iter(per_image.values()))}
    own = {key: value for key, value in means.items() if not key.startswith("bicubic_")}
    return own, {key.removeprefix("bicubic_"): value for key, value in means.items() if key.startswith("bicubic_")}


def _describe_data(
    sets: Mapping[str, Any], protocol: Mapping[str, Any], content: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return the content of data.json: digests follow from the names of images, or from `content`."""
    test = {}
    for name, images in sets.items():
        words = {image: (content or {}).get(image, f"{name} {image}") for image in images}
        files = {f"{name}/HR/{image}.png": hashlib.sha256(word.encode()).hexdigest() for image, word in words.items()}
        digest = hashlib.sha256(json.dumps([files, protocol]).encode()).hexdigest()[:32]
        test[name] = {
            "digest": digest,
            "source": f"/data/{name}/HR",
            "lr": "x",
            "protocol": dict(protocol),
            "files": files,
        }
    return {"test": test}


def _make_config(runs: Path, net: str, loss: str, seed: int, scale: int) -> dict[str, Any]:
    """Return a config such as `sr.run` stores it, shortened; `tests/test_compare.py` compares it with a real one."""
    return yaml.safe_load(f"""
        scale: {scale}
        color: rgb
        channels: 3
        seed: {seed}
        stages: [fit, test]
        resume: null
        monitor: psnr
        paths: {{data: /data, runs: {runs}, cache: ~/.cache/sr}}
        data: {{_target_: sr.data.folder.Folder, path: T91, scale: {scale}, seed: {seed}, batch: 16, patch: 96, workers: 0,
               val: [folder], test: [Set5], degrade: {{_target_: sr.degrade.bicubic.Bicubic, scale: {scale}, border: mirror}}}}
        metric: {{_target_: sr.metric.protocol.Protocol, name: edsr, channel: y, scale: {scale}, color: rgb}}
        model:
          _target_: sr.model.cnn.CNN
          net: {{_target_: sr.net.{net}.Net, scale: {scale}, channels: 3, {net}_width: 32}}
          loss: {{{loss}: {{_target_: sr.loss.{loss}.Loss, weight: 1.0}}}}
          optimizer: {{_target_: torch.optim.Adam, _partial_: true, lr: 0.001}}
          alarm: {{collapse: {{_target_: sr.alarm.collapse.Collapse, contrast: 0.2}}}}
        trainer: {{_target_: sr.trainer.default.Trainer, max_steps: 100, accelerator: auto, precision: 32-true}}
        track: {{_target_: sr.track.journal.Journal, runs: {runs}, experiment: sr, group: null}}
    """)
