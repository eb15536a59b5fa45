"""The results of an evaluation: stored as evaluate.json and summary.json, and printed."""

from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image

from sr.checkpoint.interpolate import OPTIONS, format_label
from sr.evaluation.predictor import Predictor
from sr.evaluation.tables import format_cost, format_report
from sr.evaluation.uncertainty_page import PAGE_FILE, render_page
from sr.inference.ntire import NTIREScore
from sr.lifecycle.tracked_run import TrackedRun
from sr.metric.protocol import Protocol
from sr.pretrained.networks import find_network
from sr.record.result import EVALUATION_FILE, SUMMARY_FILE, EvaluationResult, SetResult, set_results_to_json


@dataclass
class EvaluationReport:
    """The report of a run; the results are added set by set."""

    run: TrackedRun
    config: dict[str, Any]
    protocol: Protocol
    predictor: Predictor
    published: str | None  # the published model that it is compared with
    checkpoint_sha256: str | None  # of the file whose net is evaluated
    results: dict[str, SetResult] = field(default_factory=dict)  # by set
    unfinished: dict[str, SetResult] = field(default_factory=dict)  # the set that was interrupted
    ntire_score: NTIREScore | None = None  # if the option `cost` asks for it
    sheets: dict[str, dict[str, Image]] = field(default_factory=dict)  # maps of the uncertainty, by set and image

    def store(self, status: str) -> None:
        """Write evaluate.json and summary.json, and give the tracker the table as the run's description."""
        self.run.save_text(EVALUATION_FILE, set_results_to_json(self.results | self.unfinished))
        self.run.save_text(SUMMARY_FILE, self.summarize(status).to_json())
        uncertain = {name: result.uncertainty for name, result in self.results.items() if result.uncertainty}
        if uncertain:
            self.run.save_text(PAGE_FILE, render_page(self._format_label(), uncertain, self.sheets))
        if self._find_tile():
            self.run.tracker.set_tag("sr.tile", str(self._find_tile()))
        if self.results:
            lines = [f"    {line}" for line in self._format_tables().splitlines()]
            title = f"{self._format_label()}, protocol {self.protocol.name}"
            self.run.tracker.set_description("\n".join([title, "", *lines]))

    def summarize(self, status: str) -> EvaluationResult:
        """Return the summary of a run that ended with this status."""
        return EvaluationResult(
            run_id=self.run.tracker.run_id,
            status=status,
            protocol={name: result.protocol for name, result in self.results.items()},
            checkpoint_sha256=self.checkpoint_sha256,
            net=self._format_label(),
            published=self.published,
            scale=self.config["scale"],
            parameters=self.predictor.parameters,
            multiply_adds_1280x720=self.predictor.multiply_adds,
            ntire_score=self.ntire_score.value if self.ntire_score else None,
            ntire_protocol=self.ntire_score.protocol if self.ntire_score else {},
            **{key: self.config[key] for key in OPTIONS},
            images=self.config["images"],
            input=self.config["input"],
        )

    def print(self, status: str) -> None:
        """Print the tables, and where the run is."""
        scale = f" ×{self.config['scale']}" if self.config["scale"] else ""
        print(f"\n{status.lower()}: {self._format_label()}{scale}, protocol {self.protocol.name}\n")
        if self.results:
            print(self._format_tables() + "\n")
        for name, result in self.unfinished.items():
            print(f"{name}: interrupted; the values of its first {result.count} images are in {EVALUATION_FILE}")
        self.run.print_location()
        if any(result.uncertainty for result in self.results.values()):
            print(f"page        {self.run.folder / PAGE_FILE}")

    def _format_tables(self) -> str:
        cost = format_cost(self.predictor.parameters, self.predictor.multiply_adds, self.ntire_score)
        return format_report(self.results, self.protocol, cost)

    def _format_label(self) -> str:
        """Return the net's name with everything that changes its numbers: IMDN+ is IMDN with self-ensemble.

        A network that was given by its name is called so: there are several RRDBNets.
        """
        checkpoint = self.config["checkpoint"]
        name = checkpoint if checkpoint and find_network(checkpoint) else self.predictor.name
        tile = self._find_tile()
        tiled = f" in tiles of {tile}" if tile else ""
        return f"{name}{'+' * bool(self.config['ensemble'])}{format_label(self.config)}{tiled}"

    def _find_tile(self) -> int | None:
        """Return the side of the tiles in which images were upscaled, by the option `tile` or because they are large."""
        return next((result.tile for result in (self.results | self.unfinished).values() if result.tile), None)
