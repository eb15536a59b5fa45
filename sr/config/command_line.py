"""Words of a command line: find `--config-dir` among them, and quote a value for Hydra's grammar."""


def list_config_dirs(words: list[str]) -> list[str]:
    """Return each `--config-dir` of a command line as `--config-dir=DIR`, however it was typed (`-cd DIR`)."""
    options = []
    for i, word in enumerate(words):
        option, _, value = word.partition("=")
        if option in ("--config-dir", "-cd"):
            options.append(f"--config-dir={value or (words[i + 1] if i + 1 < len(words) else '')}")
    return options


def quote_override(value: str) -> str:
    """Return `value` in double quotes, so that Hydra's override grammar reads it as one string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
