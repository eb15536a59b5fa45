"""`mlflow:RUN_ID`: how the user names a tracked run where otherwise a file or a folder is named."""

PREFIX = "mlflow:"


def parse_run_id(word: str) -> str | None:
    """Return RUN_ID of `mlflow:RUN_ID`, or None if the word names something else."""
    return word.removeprefix(PREFIX) if word.startswith(PREFIX) else None
