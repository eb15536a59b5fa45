"""Turn Hydra's errors about a command line into messages for the user, with the nearest valid name."""

import re

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from sr.config import renamed
from sr.config.command_line import list_config_dirs, quote_override, read_text
from sr.config.option_type import find_option_type, takes_several
from sr.config.schema import find_conf_dir
from sr.config.suggestion import explain_unknown_key
from sr.runtime.error import suggest_nearest

PLUGINS = {  # of Hydra, each a package of its own
    "hydra/launcher": {
        "joblib": "hydra-joblib-launcher", "submitit_local": "hydra-submitit-launcher",
        "submitit_slurm": "hydra-submitit-launcher", "rq": "hydra-rq-launcher", "ray": "hydra-ray-launcher",
        "ray_aws": "hydra-ray-launcher",
    },
    "hydra/sweeper": {
        "ax": "hydra-ax-sweeper", "nevergrad": "hydra-nevergrad-sweeper",
    },
}  # fmt: skip
SYNONYMS_OF_CHOICES = {  # what others call them
    "model/loss": {"l2": "mse", "mae": "l1", "vgg": "perceptual", "lpips": "perceptual", "smooth_l1": "charbonnier"},
    "model": {"srgan": "gan", "esrgan": "gan", "net": "cnn"},
    "model/net": {"esrgan": "rrdb", "rrdbnet": "rrdb", "real_esrgan": "rrdb", "srgan": "srresnet"},
    "model/schedule": {"multistep": "multi_step", "step": "multi_step", "onecycle": "one_cycle", "none": "constant"},
    "track": {"tensorboard": "mlflow", "wandb": "mlflow", "csv": "journal", "false": "none", "null": "none"},
}


def explain_hydra_error(error: Exception, command: str, words: list[str]) -> str:
    """Return the message for an error that Hydra or OmegaConf raised while composing `conf/COMMAND.yaml` with `words`."""
    text = str(error).split("\nSee ")[0].strip()
    if isinstance(error, MissingConfigException):
        return _explain_missing_choice(text, words)
    if isinstance(error, OverrideParseException):
        return _explain_parse_error(str(error.override), text, words)
    unknown = re.search(r"Could not (?:override|delete from config\.) '(.+?)'", text)
    if unknown:
        return _explain_unknown_option(unknown[1], command, words)
    several = re.search(r"Ambiguous value for argument '(.+)'", text)
    if several:
        return _explain_several_values(several[1], command, words)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    message = str(getattr(cause, "msg", None) or text).splitlines()[0]
    return f"{message} ({getattr(cause, 'full_key', '') or 'config'})"


def explain_null_group(words: list[str]) -> str:
    """Return the message for a command line that chooses null for a config group; Hydra does not name the group."""
    groups = [word for word in words if (find_conf_dir() / re.split("[@=]", word)[0]).is_dir()]
    wrong = ", ".join(word for word in groups if word.endswith("=null"))
    return f"{wrong}: a group cannot be null; leave it out, or choose one of its options (see --help)"


def explain_unknown_home(words: list[str]) -> str:
    """Return the message for a value that begins with `~NAME`, where no user of that name exists."""
    wrong = next((word for word in words if re.search(r"=\W{0,2}~[^/]", word)), "~NAME")
    key, _, value = wrong.partition("=")
    name = read_text(value.strip("[]"))
    return f"{key}={name}: ~ means the home folder of a user, and there is no such user; type {key}=./{name}"


def _explain_missing_choice(text: str, words: list[str]) -> str:
    """Explain that a group has no such choice (`model/net=edrs`) and list those that it has."""
    match = re.search(r"[Cc]ould not (?:find|load) '(.+)/(.+?)'", text)
    if match is None:
        return text
    group, choice = match.groups()
    if f"{group}={choice}" in renamed.CHOICES:
        return _list_new_names(words)
    if (group, choice) == (
        "hydra/sweeper",
        "optuna",
    ):  # the plugin needs optuna < 3, which our own sweeps do not work with
        return "hydra/sweeper=optuna: sr has Optuna's samplers itself: type sweep=tpe, random, qmc, cmaes or nsga2"
    if package := PLUGINS.get(group, {}).get(choice):
        return f"{group}={choice}: this plugin of Hydra is not installed: pip install {package}"
    # If one item of a list is missing, Hydra does not list the choices.
    choices = re.findall(r"^\t(\w+)$", text, re.MULTILINE)
    choices = choices or sorted(path.stem for path in (find_conf_dir() / group).glob("[!_]*.yaml"))
    synonym = SYNONYMS_OF_CHOICES.get(group, {}).get(choice.lower())
    nearest = f' Did you mean "{synonym}"?' if synonym in choices else suggest_nearest(choice, choices)
    message = f"{group}={choice}: expected one of {', '.join(choices)}.{nearest}"
    if group in PLUGINS:
        message += " Others are plugins of Hydra, to be installed: https://hydra.cc/docs/plugins"
    # A resumed run brings its choices with it, but not the folder of the user's own parts.
    if any(word.startswith("resume=") for word in words) and not list_config_dirs(words):
        message += " If it is a part of your own: --config-dir DIR has to be typed again"
    return message


def _explain_parse_error(override: str, text: str, words: list[str]) -> str:
    key, equals, value = override.partition("=")
    if equals and "/" in key and "." in key:
        return f"cannot read {override!r}: an option is set with dots, {key.replace('/', '.')}={value}"
    if not equals:
        hint = ", without spaces around the =" if "=" in words else ""
        return f"cannot read {override!r}: expected key=value{hint} (see --help)"
    if not key.strip("+~") or not re.fullmatch(r"[\w$.@:/+~-]+", key):
        return f"cannot read {override!r}: expected key=value ({text.splitlines()[0]})"
    return f"cannot read {override!r}: a text with such characters is quoted, '{key}={quote_override(value)}'"


def _explain_several_values(override: str, command: str, words: list[str]) -> str:
    """Explain `model/net=edsr,rcan` without -m, and that an option takes a list in brackets."""
    key, _, value = override.partition("=")
    option = find_option_type(key, command, [folder.partition("=")[2] for folder in list_config_dirs(words)])
    takes_list = option.takes_list if option else _is_group_of_lists(key)
    together = f"; all of them in one run: {key}=[{value}]" if takes_list else ""
    if command != "run" and (takes_list or takes_several(key, command)):
        return f"{override}: expected a list: {key}=[{value}]"
    return f"{override}: expected one value (found several); one run with each of them: -m {override}{together}"


def _is_group_of_lists(group: str) -> bool:
    """Return True if parts of this group are combined, as in model/loss=[l1,fft]: each file names its part first."""
    files = sorted((find_conf_dir() / group).glob("[!_]*.yaml"))
    return bool(files) and f"\n{files[0].stem}:" in files[0].read_text(encoding="utf-8")


def _explain_unknown_option(key: str, command: str, words: list[str]) -> str:
    if renamed.find_new_name(key):
        return _list_new_names(words)
    if "/" in key and (find_conf_dir() / key).is_dir():
        parent = key.rpartition("/")[0]
        return f"{key} is not part of the chosen {parent}: choose another {parent}=… that has it (see --help)"
    value = next((word.partition("=")[2] for word in words if word.partition("=")[0].lstrip("+~") == key), "…")
    return explain_unknown_key(key, value, command, words)


def _list_new_names(words: list[str]) -> str:
    """Return one line for each override that uses an old name of an option or choice."""
    lines = []
    for word in words:
        new_word = renamed.update_override(word)
        old_key, (key, _, value) = word.partition("=")[0], new_word.partition("=")
        what = f"choice is now called {value}" if key == old_key else f"option is now called {key.lstrip('+~')}"
        lines += [f"{word}: this {what}; type {new_word}"] if new_word != word else []
    return "\n".join(lines)
