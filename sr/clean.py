"""`python -m sr.clean`: remove the decoded pictures that are kept in paths.cache; they are made again when needed."""

from pathlib import Path

from omegaconf import DictConfig

from sr import schema, verb


def main() -> None:
    """The console script `sr-clean`."""
    verb.start("clean", clean)


def clean(cfg: DictConfig) -> None:
    """Empty the cache, and say what is gone."""
    folder = Path(schema.plain(cfg)["paths"]["cache"]).expanduser()
    from sr.data.cache import Cache  # torch: only now, when the config is right

    count, size = Cache(folder, 0).clean()
    print(f"{folder}: {count} decoded picture(s) removed, {size / 1e9:.3g} GB")


if __name__ == "__main__":
    main()
