"""`python -m sr.predict`: a checkpoint enlarges a picture or a folder of them."""

from omegaconf import DictConfig

from sr.checkpoint.interpolate import check_options
from sr.config import cli, schema


def main() -> None:
    """The console script `sr-predict`."""
    cli.run_command("predict", predict)


def predict(cfg: DictConfig) -> None:
    """Enlarge `input` into `output`; every picture that failed is named at the end, and the exit code tells."""
    schema.require_options(cfg, "checkpoint", "input", "output")
    config = schema.to_plain(cfg)
    if config["scale"] is not None:
        schema.check_choice("scale", config["scale"], schema.SCALES)
    schema.check_counts(config)
    schema.check_flags(config, "ensemble", "overwrite")
    check_options(config)
    from sr.prediction.files import upscale_files  # torch: only now, when the config is right

    upscale_files(**config)


if __name__ == "__main__":
    main()
