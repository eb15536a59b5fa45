"""Describe a version for the registry: tags, parameters, and a text with its numbers and their protocol."""

import sys

from sr.checkpoint.load import LoadedNet
from sr.comparison.measure import KNOWN, format_number
from sr.comparison.run import ComparedRun, SetScore
from sr.comparison.stored_options import read_yaml
from sr.metric.standard import describe_rounding, describe_standard_lr

ENVIRONMENT_FILE = "environment.yaml"


def list_params(model: LoadedNet) -> dict[str, str]:
    """Return what distinguishes networks: net, scale, color, steps, parameters."""
    weights = sum(weight.numel() for weight in model.net.parameters())
    return {
        "net": _name_net(model),
        "scale": str(model.scale),
        "color": model.color,
        "steps": str(model.step),
        "parameters": str(weights),
    }


def list_tags(run: ComparedRun, model: LoadedNet, license_name: str | None) -> dict[str, str]:
    """Return the tags of a version: parameters, license, data, commit, version of sr, and every number by set and protocol."""
    tags = {f"sr.{key}": value for key, value in list_params(model).items()}
    tags |= {"sr.version": sys.modules["sr"].__version__, "sr.license": license_name or "unknown"}
    tags |= {"sr.data": _describe_data(model), "sr.leaks": str(len(model.leaks))}
    commit = _read_commit(run)
    tags |= {"sr.git.commit": commit} if commit else {}
    for score in run.scores:
        place = f"test/{score.set} x{score.scale} {score.protocol.get('protocol')}{'' if _is_standard(score) else ' own LR'}"
        tags |= {f"{place}/{name}": f"{value:.6g}" for name, value in score.means.items()}
    return tags


def describe_version(run: ComparedRun, model: LoadedNet) -> str:
    """Return a text in Markdown: the network, what it needs, and a table of its numbers with their protocol."""
    version = sys.modules["sr"].__version__
    lines = [
        f"Upscales images ×{model.scale}: {_name_net(model)} for {model.color}, trained {model.step} steps on "
        f"{_describe_data(model)}, from the run {run.name}. Input: Base64 of image files, output: Base64 of PNG files. It "
        f"needs the Python package sr (here {version}), which MLflow does not install: serve it with --env-manager local.",
        "",
        "| set | metric | value | bicubic | images | protocol |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for score in run.scores:
        for name, value in score.means.items():
            measure = KNOWN.get(name)
            digits, title = (measure.digits, measure.title) if measure else (4, name)
            bicubic = format_number(score.bicubic.get(name), digits)
            number = f"{format_number(value, digits)}{f' {measure.unit}' if measure and measure.unit else ''}"
            count = len(score.per_image) or "–"
            lines.append(f"| {score.set} | {title} | {number} | {bicubic} | {count} | {_describe_protocol(score)} |")
    return "\n".join(lines)


def _name_net(model: LoadedNet) -> str:
    return model.config["model"]["net"]["_target_"].rpartition(".")[2]


def _describe_data(model: LoadedNet) -> str:
    data = model.config.get("data", {})
    return str(data.get("path") or data.get("_target_", "unknown data").rpartition(".")[2])


def _describe_protocol(score: SetScore) -> str:
    protocol = score.protocol
    return f"{protocol.get('protocol')}: channel {protocol.get('channel')}, border {protocol.get('border')}, {protocol.get('lr')}"


def _is_standard(score: SetScore) -> bool:
    lr = describe_rounding(describe_standard_lr(score.scale), str(score.protocol.get("channel")))
    return score.protocol.get("lr") == lr


def _read_commit(run: ComparedRun) -> str | None:
    """Return the commit of sr that the training ran with."""
    folder = next((f for f in (run.folder, *(score.folder for score in run.scores)) if f), None)
    state = (read_yaml(folder / ENVIRONMENT_FILE).get("git") if folder else None) or {}
    return state.get("sha")
