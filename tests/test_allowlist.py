"""Configs that the user did not type: what may be built from them, and what may not, however it is named."""

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import sr as package
from sr.config import allowlist
from sr.config.allowlist import check_targets
from sr.config.cli import find_conf_dir
from sr.runtime.error import UserError

NET = {"_target_": "sr.net.plain.Plain", "scale": 2}
HARM = (
    "os.system", "builtins.eval", "subprocess.Popen", "torch.load", "torch.hub.load", "functools.partial", "pathlib.Path",
    "hydra.utils.instantiate", "omegaconf.OmegaConf.load",
    # through imports of a trusted module
    "torch.nn.modules.module.torch.hub.load", "torch.nn.modules.module.functools.partial", "torch.nn.modules.module.partial",
    "torch.optim.optimizer.torch.load", "torch.optim.optimizer.warnings.sys.modules.clear",
    "sr.pretrained.state_dict.pickle.loads",
    "sr.data.cache.os.system", "sr.data.cache.read_levels", "sr.net.plain.nn.modules.module.torch.save", "sr.net.plain.Tensor",
    "sr.model.gan.warnings", "sr.net.windowed.importlib.import_module", "sr.track.server.FileLock", "sr.track.journal.partial",
    # functions of sr that read, write, download or run what their arguments say
    "sr.pretrained.download.download_file", "sr.config.build.build_part", "sr.run.main", "sr.clean.main",
    "sr.checkpoint.load.load_checkpoint", "sr.pretrained.state_dict.read_weights",
    "sr.config.cli.run_command", "sr.image.write.write_png", "sr.data.file_digest.write_atomic",
    "sr.lifecycle.run_start.save_text", "sr.track.upload.send_run",
    "pytorch_lightning.core.saving._load_from_checkpoint", "pytorch_lightning.core.saving.load_hparams_from_yaml",
    "pytorch_lightning.core.saving.save_hparams_to_yaml", "pytorch_lightning.loggers.csv_logs.CSVLogger",
    # classes that download weights
    "torchmetrics.image.LearnedPerceptualImagePatchSimilarity",
    "pytorch_lightning.Trainer", "torchmetrics.utilities.imports.package_available", "torch.nn.functional.relu",
    "torch.nn.modules.module.register_module_forward_hook", "torch.nn.utils.stateless.functional_call",
    # methods, and attributes of methods
    "pytorch_lightning.LightningModule.load_from_checkpoint", "pytorch_lightning.callbacks.Callback.setup",
    "sr.data.cache.Cache.find", "sr.net.plain.Plain.__init__", "sr.net.plain.Plain.forward.__globals__.clear",
    "torch.nn.Module.load_state_dict", "torch.nn.parallel.data_parallel.__globals__.clear", "sr.net.plain.__class__",
    "sr.net.plain.__loader__.exec_module", "torch.nn.modules.module.__builtins__.eval",
)  # fmt: skip
NO_NAMES = (
    "", ".", "sr", "sr.", "sr.net", "sr.net.", "sr.net.plain.", ".os.system", "sr..net.plain.Plain", "sr.net.plain.Plain ",
    "sr.net.plain.Absent", "sr.absent.Plain", "srx.net.Plain", "torch.nnx.Linear", "torch.nn", "Plain",
)  # fmt: skip


@pytest.mark.parametrize("target", [target for target in HARM if target.startswith("sr.")])
def test_what_could_do_harm_exists(target: str) -> None:
    """A function that was renamed would be refused only because its name does not exist."""
    pkgutil.resolve_name(target)


@pytest.mark.parametrize("target", HARM + NO_NAMES)
def test_what_could_do_harm_is_not_built(target: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_targets({"model": {"net": {"_target_": target}}}, (), "resume=mlflow:abc")
    assert f"resume=mlflow:abc: model.net is {target}, which is no part of sr" in str(refusal.value)
    assert "trust=[" in str(refusal.value)


EVIL = {"_target_": "os.system", "command": "true"}


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (EVIL, ""),
        ({"data": {"degrade": {"ops": [NET, [EVIL]]}}}, "data.degrade.ops[1][0]"),
        ({"model": NET | {"_args_": [1, EVIL]}}, "model._args_[1]"),
        ({"model": NET | {"_partial_": True, "act": EVIL | {"_partial_": True}}}, "model.act"),
        ({"model": NET | {"_recursive_": False, "act": EVIL}}, "model.act"),
        ({"model": {"loss": (NET, EVIL)}}, "model.loss[1]"),  # OmegaConf takes a tuple for a list
        ({"model": {1: EVIL}}, "model.1"),
        ({"_target_": {"_target_": "os.system"}}, ""),
        ({"model": {"_target_": ["os.system"]}}, "model"),
        ({"model": {"_target_": None}}, "model"),
    ],
)
def test_it_is_found_anywhere_in_a_config(config: Any, key: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_targets(config, (), "resume=a.ckpt")
    assert str(refusal.value).startswith(f"resume=a.ckpt: {key or 'it'} is ")
    assert ", which is no part of sr" in str(refusal.value)


@pytest.mark.parametrize(
    "value", ["${oc.env:HOME}", ["a ${oc.create:{_target_: os.system}}"], b"bytes", {1, 2}, object()]
)
def test_only_plain_values_are_read(value: Any) -> None:
    with pytest.raises(UserError, match=r"resume=a\.ckpt: paths\.runs.*: expected plain values"):
        check_targets({"paths": {"runs": value}}, (), "resume=a.ckpt")


def test_a_config_that_contains_itself_is_refused() -> None:
    config: dict[str, Any] = {"model": {}}
    config["model"]["net"] = [config, config]
    with pytest.raises(UserError, match="expected plain values"):
        check_targets(config, (), "resume=a.ckpt")


def test_modules_of_ones_own_are_allowed_if_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes and functions that are defined in them are allowed, not those that they import."""
    (tmp_path / "own_parts").mkdir()
    (tmp_path / "own_parts" / "nets.py").write_text(
        "import os\nfrom os import system\nfrom sr.net.plain import Plain\n\n\nclass Mine(Plain):\n    pass\n\n\n"
        "def make():\n    return Mine(2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("Mine", "make", "Plain"):
        node = {"model": {"net": {"_target_": f"own_parts.nets.{name}"}}}
        check_targets(node, ["own_parts"], "checkpoint=a.ckpt")
        with pytest.raises(UserError, match=r"trust=\[own_parts\.nets\]"):
            check_targets(node, ["own_part"], "checkpoint=a.ckpt")
    for name in ("system", "os.system", "os", "Absent"):
        with pytest.raises(UserError, match=r"is no part of sr|no module"):
            check_targets({"_target_": f"own_parts.nets.{name}"}, ["own_parts"], "checkpoint=a.ckpt")
    with pytest.raises(
        UserError, match=r"model\.net is absent\.Net, but there is no module absent; add --config-dir DIR"
    ):
        check_targets({"model": {"net": {"_target_": "absent.Net"}}}, ["absent"], "checkpoint=a.ckpt")


def test_everything_in_conf_is_allowed() -> None:
    """Others of the same kinds are allowed as well, such as a torch.nn module or a callback."""

    def targets(node: Any) -> set[str]:
        parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        return (
            {node["_target_"]} if isinstance(node, dict) and "_target_" in node else set().union(*map(targets, parts))
        )

    found = set()
    for file in find_conf_dir().rglob("*.yaml"):
        if file.relative_to(find_conf_dir()).parts[0] in ("sweep", "exporter"):  # which are no parts of a run
            continue
        node = OmegaConf.to_container(OmegaConf.load(file))
        found |= targets(node) | targets(list(node.values()))
    assert len(found) > 70
    more = {"torch.nn.Sequential", "torch.optim.lr_scheduler.StepLR"}
    for target in found | more | {"pytorch_lightning.callbacks.LearningRateMonitor"}:
        check_targets({"part": {"_target_": target}}, (), "resume=a.ckpt")


def test_whole_configs_of_runs_are_allowed(compose: Any) -> None:
    for words in (("model=gan", "data/degrade=real", "model/penalty=[r1]"), ("experiment=esrgan_x4",)):
        config = compose(*words)
        del config["sweep"]  # no run has it
        check_targets(config, (), "resume=a.ckpt")


def test_the_only_functions_among_parts_make_schedules() -> None:
    """Everything that can be named in `sr`: classes of the packages of parts, and functions that make schedules."""
    functions = set()
    for module in pkgutil.walk_packages(package.__path__, "sr."):
        for name in dir(import_module(module.name)):
            found = allowlist._find_definition(module.name, name)
            if found is not None and allowlist._is_part(found) and not isinstance(found, type):
                functions.add(found.__module__.split(".")[1])
    assert functions == {"schedule"}
