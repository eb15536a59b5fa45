"""`python -m sr.evaluate`: any net, or pictures made elsewhere, measured on any named sets and tracked as a run."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sr.checkpoint.interpolate import check_options
from sr.config import cli, schema
from sr.runtime.error import UserError


def main() -> None:
    """The console script `sr-evaluate`."""
    cli.run_command("evaluate", evaluate)


def evaluate(cfg: DictConfig) -> None:
    """Measure what the config names on each set of `data.test`; prints a table and writes `evaluate.json`."""
    from hydra.core.hydra_config import HydraConfig

    chosen = {group: choice for group, choice in HydraConfig.get().runtime.choices.items() if choice is not None}
    _check(cfg, "model/net" in chosen)
    draft = OmegaConf.create(OmegaConf.to_container(cfg))  # what the checkpoint will say is filled in, to be checked
    draft.scale = cfg.scale or schema.SCALES[0]
    draft.color = cfg.color or ("y" if cfg.metric.channel == "y8" else "rgb")
    schema.resolve_config(draft, chosen)
    from sr.evaluation.evaluation import Evaluation  # torch: only now, when the config is right

    Evaluation(cfg, chosen, list(HydraConfig.get().overrides.task)).run()


def _check(cfg: DictConfig, net: bool) -> None:
    """Exactly one thing is tested, and what no checkpoint can tell was typed."""
    if cfg.images is not None and (cfg.checkpoint is not None or net):
        raise UserError("images= are measured as they are: leave checkpoint and model/net out")
    if cfg.images is not None and (cfg.ensemble is True or cfg.tile is not None):
        raise UserError("images= are measured as they are: leave ensemble and tile out")
    if cfg.images is not None and cfg.interpolate is not None:
        raise UserError("images= are measured as they are: leave interpolate and alpha out")
    check_options(cfg)
    if cfg.images is None and cfg.checkpoint is None and not net:
        raise UserError("what is to be tested? checkpoint=FILE, images=FOLDER or model/net=bicubic (see --help)")
    if cfg.data.get("test") is not None and not len(cfg.data.test):
        raise UserError("data.test=[]: name the sets to measure: data.test=[Set5,Set14]")
    for key in ("checkpoint", "interpolate", "images", "against"):
        if (
            cfg[key] is not None
            and not str(cfg[key]).startswith("mlflow:")
            and not Path(cfg[key]).expanduser().exists()
        ):
            raise UserError(f"{key}={cfg[key]}: there is no such {'folder' if key == 'images' else 'file'}")
    if cfg.scale is None and (cfg.checkpoint is None or net):
        raise UserError(
            f"still needed: scale=… ({', '.join(map(str, schema.SCALES))}); only a checkpoint brings its own"
        )


if __name__ == "__main__":
    main()
