"""`python -m sr.predict`: a checkpoint enlarges a picture or a folder of them."""

from omegaconf import DictConfig

from sr.checkpoint import interpolate
from sr.config import cli, schema


def main() -> None:
    """The console script `sr-predict`."""
    cli.start("predict", predict)


def predict(cfg: DictConfig) -> None:
    """Enlarge `input` into `output`; every picture that failed is named at the end, and the exit code tells."""
    schema.need(cfg, "checkpoint", "input", "output")
    config = schema.plain(cfg)
    if config["scale"] is not None:
        schema.one_of("scale", config["scale"], schema.SCALES)
    schema.check_counts(config)
    schema.check_flags(config, "ensemble", "overwrite")
    interpolate.check(config)
    from sr.prediction.files import enlarge_all  # torch: only now, when the config is right

    enlarge_all(**config)


if __name__ == "__main__":
    main()
