"""Evaluate a net under each condition of `profile=…`, against bicubic interpolation of the same input."""

import copy
from collections.abc import Iterator, Sequence

import torch

from sr.data.module import SRDataModule
from sr.data.prepare import build_pair
from sr.evaluation.batches import iterate_batches
from sr.evaluation.predictor import Predictor
from sr.image.resize import upscale_bicubic
from sr.metric.protocol import Protocol
from sr.metric.score import Score
from sr.profile.degrade import Condition, Degrade
from sr.profile.row import ProfileRow, describe_limits
from sr.runtime.terminal import TABLE_WIDTH, format_table


def evaluate_profile(
    profile: Degrade, data: SRDataModule, index: int, predictor: Predictor, protocol: Protocol, device: torch.device
) -> Iterator[ProfileRow]:
    """Yield the means over the test set at `index` of each condition, as soon as it is evaluated."""
    protocol = copy.copy(protocol)
    protocol.also = {}  # 22 conditions: PSNR and SSIM alone
    for condition in profile.list_conditions():
        yield _evaluate_condition(condition, data, index, predictor, protocol, device)


def _evaluate_condition(
    condition: Condition, data: SRDataModule, index: int, predictor: Predictor, protocol: Protocol, device: torch.device
) -> ProfileRow:
    name = data.set_name("test", index)
    score, bicubic = Score(protocol), Score(protocol)
    for raw, names in iterate_batches(data.eval_sets["test"][index], device, f"{name} {condition.label}"):
        pair = build_pair(raw._replace(lr=None), data.color == "gray", condition, data.select_channels)
        score.update(predictor.predict(pair, names, name, raw.gray), pair.hr)
        bicubic.update(upscale_bicubic(pair.lr, protocol.scale), pair.hr)
    row = {"kind": condition.kind, "strength": condition.strength, "label": condition.label}
    return row | score.compute() | {f"bicubic_{key}": value for key, value in bicubic.compute().items()}


def format_profile(name: str, rows: Sequence[ProfileRow]) -> str:
    """Return the table of a set, and where the net falls below bicubic interpolation."""
    table = [(f"{name}: input", "PSNR", "bicubic", "Δ dB", "SSIM", "bicubic", "Δ")]
    for row in rows:
        psnr, ssim = row["psnr"] - row["bicubic_psnr"], row["ssim"] - row["bicubic_ssim"]
        pairs = f"{row['psnr']:.2f}", f"{row['bicubic_psnr']:.2f}", f"{psnr:+.2f}"
        table.append((row["label"], *pairs, f"{row['ssim']:.4f}", f"{row['bicubic_ssim']:.4f}", f"{ssim:+.4f}"))
    return "\n".join([format_table(table, TABLE_WIDTH), "", describe_limits(name, rows)])
