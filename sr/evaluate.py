"""`python -m sr.evaluate`: evaluate a net, or result images, on named sets, and track it as a run."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sr.checkpoint.interpolate import check_options
from sr.config import cli, schema
from sr.config.options import EvaluateOptions
from sr.pretrained.networks import resolve_checkpoint
from sr.runtime.error import UserError
from sr.track.run_address import parse_run_id


def main() -> None:
    """Run the console script `sr-evaluate`."""
    cli.run_command("evaluate", evaluate)


def evaluate(cfg: DictConfig) -> None:
    """Evaluate what the config names on each set of `data.test`, print a table and write `evaluate.json`."""
    from hydra.core.hydra_config import HydraConfig

    choices = {group: choice for group, choice in HydraConfig.get().runtime.choices.items() if choice is not None}
    schema.check_options(cfg, EvaluateOptions)
    _check_options(cfg, has_net="model/net" in choices)
    draft = OmegaConf.create(OmegaConf.to_container(cfg))  # with stand-ins for what the checkpoint will say
    draft.scale = cfg.scale or schema.SCALES[0]
    draft.color = cfg.color or ("y" if cfg.metric.channel == "y8" else "rgb")
    schema.resolve_config(draft, choices, EvaluateOptions)
    from sr.evaluation.evaluation import Evaluation  # imports torch: only now, when the config is right

    Evaluation(cfg, choices, cli.read_overrides()).run()


def _check_options(cfg: DictConfig, has_net: bool) -> None:
    """Raise unless exactly one thing is evaluated, and all options are there that no checkpoint brings."""
    has_images, has_checkpoint = cfg.images is not None, cfg.checkpoint is not None
    excluded = {
        "checkpoint and model/net": has_checkpoint or has_net,
        "ensemble and tile": cfg.ensemble or cfg.tile is not None,
        "interpolate and alpha": cfg.interpolate is not None,
        "profile": "profile" in cfg,
    }
    for options, are_given in excluded.items():
        if has_images and are_given:
            raise UserError(f"images={cfg.images}: result images are evaluated as they are; leave {options} out")
    check_options(cfg)
    if not (has_images or has_checkpoint or has_net):
        raise UserError("expected one of checkpoint=FILE, images=FOLDER or model/net=bicubic (found none); see --help")
    if cfg.data.get("test") is not None and not len(cfg.data.test):
        raise UserError("data.test=[]: expected the names of the sets to evaluate, such as data.test=[Set5,Set14]")
    for key in ("checkpoint", "interpolate", "images", "against"):
        if cfg[key] is None or parse_run_id(str(cfg[key])) is not None:
            continue
        is_net = key in ("checkpoint", "interpolate")
        path = resolve_checkpoint(cfg[key], key) if is_net else Path(cfg[key]).expanduser()
        if not path.exists():
            raise UserError(f"{key}={cfg[key]}: there is no such {'folder' if key == 'images' else 'file'}")
    if cfg.scale is None and (not has_checkpoint or has_net):
        scales = ", ".join(map(str, schema.SCALES))
        raise UserError(f"missing: scale=… ({scales}); only a checkpoint brings its own")


if __name__ == "__main__":
    main()
