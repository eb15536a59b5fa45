"""`python -m sr.serve`: upscale images on request, over HTTP and on a page."""

from omegaconf import DictConfig

from sr.checkpoint.interpolate import check_options
from sr.config import cli, schema
from sr.config.options import ServeOptions
from sr.runtime import garbage


def main() -> None:
    """Run the console script `sr-serve`."""
    cli.run_command("serve", serve)


def serve(cfg: DictConfig) -> None:
    """Answer requests until Ctrl-C or SIGTERM; those that were accepted are completed first."""
    config = schema.check_options(cfg, ServeOptions)
    check_options(config)
    with garbage.skip_imported():
        from sr.serving.server import run_server  # imports torch: only now, when the config is right
    run_server(config)


if __name__ == "__main__":
    main()
