"""`python -m sr.evaluate`: evaluate a net, or result images, on named sets, and track it as a run."""

from omegaconf import DictConfig, OmegaConf

from sr.config import cli, schema
from sr.config.options import EvaluateOptions
from sr.evaluation.source import check_scale, check_source, check_without_hr, is_without_hr
from sr.runtime import garbage
from sr.track.sender_process import prepare_sender


def main() -> None:
    """Run the console script `sr-evaluate`."""
    cli.run_command("evaluate", evaluate)


def evaluate(cfg: DictConfig) -> None:
    """Evaluate what the config names on each set of `data.test`, print a table and write `evaluate.json`."""
    from hydra.core.hydra_config import HydraConfig

    choices = {group: choice for group, choice in HydraConfig.get().runtime.choices.items() if choice is not None}
    schema.check_options(cfg, EvaluateOptions)
    words, has_net = cli.read_overrides(), "model/net" in choices
    check_source(cfg, has_net)
    if is_without_hr(cfg, words):
        check_without_hr(cfg, words, has_net)
        from sr.evaluation.no_reference import NoReferenceEvaluation  # imports torch

        NoReferenceEvaluation(cfg, choices, words).run()
        return
    check_scale(cfg, has_net)
    draft = OmegaConf.create(OmegaConf.to_container(cfg))  # with stand-ins for what the checkpoint will say
    draft.scale = cfg.scale or schema.SCALES[0]
    draft.color = cfg.color or ("y" if cfg.metric.channel == "y8" else "rgb")
    schema.resolve_config(draft, choices, EvaluateOptions)
    prepare_sender(schema.to_plain(cfg.track))
    with garbage.skip_imported():
        from sr.evaluation.evaluation import Evaluation  # imports torch: only now, when the config is right
    Evaluation(cfg, choices, words).run()


if __name__ == "__main__":
    main()
