"""`python -m sr.bench`: what this framework costs against a bare PyTorch loop, and its functions against the field's."""

import json
from pathlib import Path
from statistics import median
from typing import Any

from omegaconf import DictConfig

from sr.config import cli, schema
from sr.runtime.error import UserError, suggest_nearest

PARTS = ("training", "gear", "track", "degrade", "imresize", "metric", "cache")


def main() -> None:
    """The console script `sr-bench`."""
    cli.run_command("bench", bench)


def bench(cfg: DictConfig) -> None:
    """Print a table and write `out`, a list of rows: name, ours, rival, ratio, unit, rival_is; medians of the rounds."""
    from hydra.core.hydra_config import HydraConfig

    config = schema.resolve_config(cfg, HydraConfig.get().runtime.choices)
    _check(config)
    rows = [_medians(row) for part in config["parts"] for row in _measured(part, config)]
    out = Path(config["out"])
    try:
        out.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror or error})") from None
    _print(rows, config["rounds"])
    print(f"written to {out.resolve()}")


def _check(config: dict[str, Any]) -> None:
    parts, threads = config["parts"], config["threads"]
    if not isinstance(parts, list) or not parts:
        raise UserError(f"parts={parts}: expected a list of {', '.join(PARTS)}: parts=[metric]")
    for part in parts:
        if part not in PARTS:
            raise UserError(f"parts: {part}: expected some of {', '.join(PARTS)}.{suggest_nearest(str(part), PARTS)}")
    nets = config["nets"]
    if not isinstance(nets, list) or not nets:
        raise UserError(f"nets={nets}: expected a list of nets: nets=[plain,edsr]")
    for net in nets:
        schema.check_choice(
            "nets", net, sorted(path.stem for path in (schema.find_conf_dir() / "model/net").glob("*.yaml"))
        )
    if not isinstance(config["seconds"], int | float) or config["seconds"] <= 0:
        raise UserError(f"seconds={config['seconds']}: expected a number above 0")
    if not isinstance(threads, int) or threads < 1:
        raise UserError(f"threads={threads}: expected a whole number, 1 or more")


def _measured(part: str, config: dict[str, Any]) -> list[dict[str, Any]]:
    if part == "training":
        from sr.benchmark.training_loop import compare  # torch, lightning: only now, when the config is right

        return compare(config)
    if part == "gear":
        from sr.benchmark import backend

        return backend.rows(config)
    if part == "track":
        from sr.benchmark import tracking

        return list(tracking.rows(config))
    from sr.benchmark import functions

    return functions.rows(part, config["rounds"], config["threads"])


def _medians(row: dict[str, Any]) -> dict[str, Any]:
    ours, rival = median(row["ours"]), median(row["rival"])
    ratio = ours / rival
    return {"name": row["name"], "ours": ours, "rival": rival, "ratio": ratio} | {
        k: row[k] for k in ("unit", "rival_is")
    }


def _print(rows: list[dict[str, Any]], rounds: int) -> None:
    """The table; who the rivals are stands below it, by number."""
    from sr.runtime import terminal

    rivals = list(dict.fromkeys(row["rival_is"] for row in rows))
    cells = [("", "ours", "rival", "ratio", "unit")]
    for row in rows:
        name = f"{row['name']} ({rivals.index(row['rival_is']) + 1})"
        cells.append((name, f"{row['ours']:.2f}", f"{row['rival']:.2f}", f"{row['ratio']:.3f}", row["unit"]))
    print(f"\n{terminal.format_table(cells)}\n\nmedians of {rounds} rounds, in turns; the rivals are")
    for k, rival in enumerate(rivals):
        print(f"({k + 1}) {rival}")


if __name__ == "__main__":
    main()
