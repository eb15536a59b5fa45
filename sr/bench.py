"""`python -m sr.bench`: measure this framework against a bare PyTorch loop, and its functions against other libraries."""

import json
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from sr.benchmark.against import find_new_rows, find_worse_rows, format_markdown
from sr.config import cli, schema
from sr.config.options import BenchOptions
from sr.record.json_text import to_json
from sr.record.run_file import write_atomic
from sr.runtime.error import UserError, suggest_nearest

if TYPE_CHECKING:
    from sr.benchmark.row import Row

PARTS = ("training", "backend", "perf", "predict", "commands", "onnx", "track", "sender", "sweep", "degrade", "imresize",
         "metric", "cache", "basicsr")  # fmt: skip
COMPARISONS = {  # modules of sr.benchmark, and functions of the config; the other parts are of `functions`
    "training": ("training_loop", "compare_training"),
    "backend": ("backend", "compare_settings"),
    "perf": ("execution", "compare_modes"),
    "commands": ("commands", "compare_commands"),
    "sender": ("sending", "compare_sending"),
    "predict": ("prediction", "compare_prediction"),
    "onnx": ("runtime", "compare_runtimes"),
    "track": ("tracking", "compare_tracking"),
    "sweep": ("sweep", "compare_sweeps"),
    "basicsr": ("basicsr", "compare_basicsr"),
}
IMAGES = ("1mp", "12mp", "small")  # of the part predict
COMPARED_KEYS = {"name", "unit", "reference_name", "ratio", "ratio_range"}  # of a row in bench.json
RENAMED_PARTS = {"gear": "backend"}


def main() -> None:
    """Run the console script `sr-bench`."""
    cli.run_command("bench", bench)


def bench(cfg: DictConfig) -> None:
    """Print a table, and write its rows to `out`: the medians of the rounds and of their ratios, and what the reference is.

    After an interruption or an error, those that were measured are in `out` with `.part` at the end. A file of the same name
    that ends in `.md` gets the rows as a Markdown table.
    The exit code is 1 if a row is worse than that of `against`.
    """
    from hydra.core.hydra_config import HydraConfig

    config = schema.resolve_config(cfg, HydraConfig.get().runtime.choices, BenchOptions)
    _check_config(config)
    earlier = _read_rows(Path(config["against"])) if config["against"] else None
    out = Path(config["out"])
    rows = _measure_rows(config, out.with_name(f"{out.name}.part"))
    if not rows:
        raise UserError(f"parts=[{','.join(config['parts'])}]: nothing was measured, {out} is not written")
    _write_file(out, to_json(rows))
    _write_file(out.with_suffix(".md"), format_markdown(rows))
    _print_table(rows)
    print(f"written to {out.resolve()}, and as Markdown to {out.with_suffix('.md').name}")
    if earlier is not None:
        _report_worse_rows(rows, earlier, config["against"])


def _read_rows(file: Path) -> list[dict[str, Any]]:
    """Read the rows of an earlier benchmark."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        missing = {key for row in rows for key in COMPARED_KEYS - row.keys()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"against={file}: expected the bench.json of an earlier benchmark ({error})") from None
    if missing:
        names = ", ".join(sorted(missing))
        raise UserError(f"against={file}: expected the bench.json of an earlier benchmark (found rows without {names})")
    return rows


def _measure_rows(config: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    """Return the rows of all parts; if not all can be measured, `file` has those that were."""
    rows: list[dict[str, Any]] = []
    try:
        for part in config["parts"]:
            for row in _run_part(part, config):
                rows.append(_compute_medians(row))
    except BaseException:
        if rows:
            _write_file(file, to_json(rows))
            print(f"written to {file}: what was measured until then ({len(rows)} rows)")
        raise
    return rows


def _write_file(file: Path, text: str) -> None:
    try:
        write_atomic(file, text)
    except OSError as error:
        raise UserError(f"out: {file} cannot be written ({error.strerror or error})") from None


def _report_worse_rows(rows: list[dict[str, Any]], earlier: list[dict[str, Any]], file: str) -> None:
    """Print the rows that got worse by more than their noise, and exit with 1 if there are any."""
    worse, new = find_worse_rows(rows, earlier), find_new_rows(rows, earlier)
    print(f"\n{len(worse)} of {len(rows) - len(new)} rows are worse than in {file}, in every round")
    for line in worse:
        print(f"  {line}")
    if new:
        print(f"not in {file}: {'; '.join(dict.fromkeys(new))}")
    if worse:
        raise SystemExit(1)


def _check_config(config: dict[str, Any]) -> None:
    parts, nets = config["parts"], config["nets"]
    if not parts:
        raise UserError(f"parts={parts}: expected a list of {', '.join(PARTS)}: parts=[metric]")
    for part in parts:
        if part in RENAMED_PARTS:
            raise UserError(f"parts: {part}: this part is now called {RENAMED_PARTS[part]}")
        if part not in PARTS:
            raise UserError(f"parts: {part}: expected some of {', '.join(PARTS)}.{suggest_nearest(str(part), PARTS)}")
    out = Path(config["out"])
    if out.is_dir():
        raise UserError(f"out={out}: expected a file (found a folder); give out={out / 'bench.json'}")
    if not out.parent.is_dir():
        raise UserError(f"out={out}: expected a file in a folder that exists; create {out.parent}")
    if out.suffix == ".md":
        raise UserError(
            f"out={out}: expected another suffix, because the Markdown table gets this name; out=bench.json"
        )
    if config["against"] and Path(config["against"]).resolve() == out.resolve():
        raise UserError(f"against={config['against']}: this file would be replaced; give out=new.json as well")
    if "basicsr" in parts and config["basicsr"]:
        from sr.benchmark.basicsr import find_basicsr

        find_basicsr(config["basicsr"])
    if not nets:
        raise UserError(f"nets={nets}: expected a list of nets: nets=[plain,edsr]")
    for name in config["images"]:
        schema.check_choice("images", name, IMAGES)
    choices = sorted(path.stem for path in (schema.find_conf_dir() / "model/net").glob("*.yaml"))
    for net in nets:
        schema.check_choice("nets", net, choices)


def _run_part(part: str, config: dict[str, Any]) -> "Iterable[Row]":
    if part not in COMPARISONS:
        from sr.benchmark.functions import compare_functions

        return compare_functions(part, config["rounds"], config["threads"])
    module, function = COMPARISONS[part]
    compare = getattr(import_module(f"sr.benchmark.{module}"), function)  # late: torch and Lightning take seconds
    return compare(config)


def _compute_medians(row: "Row") -> dict[str, Any]:
    ratios = [x / y for x, y in zip(row.sr, row.reference, strict=True)]
    return {
        "name": row.name,
        "sr": median(row.sr),
        "reference": median(row.reference),
        "ratio": median(ratios),
        "rounds": len(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "unit": row.unit,
        "reference_name": row.reference_name,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print the table, and below it the references by their numbers."""
    from sr.runtime import terminal

    references = list(dict.fromkeys(row["reference_name"] for row in rows))
    cells = [("", "sr", "reference", "ratio", "min … max", "rounds", "unit")]
    for row in rows:
        name = f"{row['name']} ({references.index(row['reference_name']) + 1})"
        least, most = row["ratio_range"]
        spread = f"{least:.3f} … {most:.3f}"
        figures = f"{row['sr']:.2f}", f"{row['reference']:.2f}", f"{row['ratio']:.3f}", spread, str(row["rounds"])
        cells.append((name, *figures, row["unit"]))
    print(
        f"\n{terminal.format_table(cells)}\n\nmedians of rounds in turns, and of the ratios of the rounds; the references are"
    )
    for k, reference in enumerate(references):
        print(f"({k + 1}) {reference}")


if __name__ == "__main__":
    main()
