"""`python -m sr.predict`: upscale an image, or a folder of images, with the net of a checkpoint."""

from omegaconf import DictConfig

from sr.checkpoint.interpolate import check_options
from sr.config import cli, schema
from sr.config.options import PredictOptions


def main() -> None:
    """Run the console script `sr-predict`."""
    cli.run_command("predict", predict)


def predict(cfg: DictConfig) -> None:
    """Upscale `input` into `output`. If an image cannot be read, the others are written and the exit code is 2."""
    schema.require_options(cfg, "checkpoint", "input", "output")
    config = schema.check_options(cfg, PredictOptions)
    check_options(config)
    from sr.prediction.files import upscale_files  # imports torch: only now, when the config is right

    upscale_files(**config)


if __name__ == "__main__":
    main()
