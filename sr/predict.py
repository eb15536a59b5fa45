"""`python -m sr.predict`: upscale an image, or a folder of images, with sr's own network or that of a checkpoint."""

import sys
from functools import partial

from omegaconf import DictConfig

from sr.checkpoint.interpolate import check_options
from sr.config import cli, schema
from sr.config.options import PredictOptions
from sr.config.quoting import split_words
from sr.runtime import garbage
from sr.runtime.error import UserError

MODELS_FLAG, SPEED_FLAG = "--models", "--speed"


def main() -> None:
    """Run the console script `sr-predict`."""
    words = sys.argv[1:]
    if MODELS_FLAG in words:
        task = partial(list_models, is_measured=SPEED_FLAG in words)
        cli.run_command("predict", task, [word for word in words if word not in (MODELS_FLAG, SPEED_FLAG)])
    else:
        cli.run_command("predict", predict, expand=_refuse_bare_words)


def predict(cfg: DictConfig) -> None:
    """Upscale `input` into `output`. If an image cannot be read, the others are written and the exit code is 2."""
    schema.require_options(cfg, "input")
    config = schema.check_options(cfg, PredictOptions)
    check_options(config)
    with garbage.skip_imported():
        from sr.prediction.files import upscale_files  # imports torch: only now, when the config is right
    upscale_files(config)


def list_models(cfg: DictConfig, is_measured: bool) -> None:
    """Print the networks that `checkpoint=NAME` takes, with their speed on this machine if `is_measured`."""
    from sr.prediction.models import print_models

    if not is_measured:
        print_models()
        return
    from sr.prediction.speed import measure_speeds  # imports torch

    print_models(*measure_speeds(cfg.device))


def _refuse_bare_words(words: list[str]) -> list[str]:
    """Return the words; raise if one is no option but the name of a file, which other programs take."""
    for word in split_words(words)[1]:
        if "=" not in word:
            raise UserError(f"{word}: expected key=value; type input={word}")
    return words


if __name__ == "__main__":
    main()
