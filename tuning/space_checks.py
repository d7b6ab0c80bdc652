"""Whether a space can be searched, found out before the first trial."""

import itertools
from typing import Any

from metasgcl_tf.config import RunConfig, build_config
from metasgcl_tf.errors import InputError, require

KEYS = ("min", "max", "scale", "step")
SCALES = ("linear", "log")


def checked_space(space: dict[str, Any], config: RunConfig) -> dict[str, Any]:
    """The space with every value of the type its setting has.

    Args:
        space: see `metasgcl_tf.tuning.spaces`.
        config: what every trial has but for the searched settings.

    Raises:
        InputError: a range that is none, a value that the model refuses (alone, or two together), or a
            default outside its range.
    """
    settings, checked = config.flat(), {}
    for name, given in space.items():
        check = checked_values if isinstance(given, list) else checked_range
        checked[name] = check(name, given, settings)
    lists = [[(name, value) for value in given] for name, given in checked.items() if isinstance(given, list)]
    for one, other in itertools.combinations(lists, 2):
        for pair in itertools.product(one, other):
            build_config(settings, dict(pair))
    return checked


def checked_values(name: str, given: list, settings: dict[str, Any]) -> list:
    """A list of values, each once."""
    values = [typed(name, value, settings) for value in given]
    rule = "a list of two or more different values"
    require(len(values) >= 2 and len(set(values)) == len(values), name, rule, given)
    require(None not in values, name, "a list without null", given)
    default = settings[name]
    require(default in values, name, f"a list with {default!r}, what it is without a search", given)
    return values


def checked_range(name: str, given: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """A range, with its ends and, of whole numbers, the one next to the lower end accepted by the model."""
    rule = "a list of values, or a range such as {min: 0.003, max: 0.3, scale: log}"
    require(isinstance(given, dict) and {"min", "max"} <= given.keys(), name, rule, given)
    require(given.keys() <= set(KEYS), name, f"a range of {', '.join(KEYS)} alone", given)
    default, scale = settings[name], given.get("scale", "linear")
    number = isinstance(default, int | float) and not isinstance(default, bool)
    require(number, name, "a list of values: it is no number", given)
    require(scale in SCALES, name, f"on the scale {' or '.join(SCALES)}", given)
    low, high = (typed(name, given[end], settings) for end in ("min", "max"))
    require(low < high, name, "a range whose min is below its max", given)
    require(scale == "linear" or low > 0, name, "a range above 0 on a log scale", given)
    if not low <= default <= high:
        raise InputError(
            f"`{name}` should be a range around {default!r}, what it is without a search (--set changes it). "
            f"Received: {low!r} to {high!r}."
        )
    checked = {"min": low, "max": high} | ({"scale": "log"} if scale == "log" else {})
    if given.get("step") is not None:
        step = checked["step"] = given["step"]
        whole = isinstance(step, int) or (isinstance(step, float) and isinstance(default, float))
        rule = "a range with a step above 0, on a log scale above 1, whole for whole numbers"
        require(whole and step > (scale == "log"), name, rule, given)
    if isinstance(default, int) and scale == "linear":
        typed(name, low + checked.get("step", 1), settings)
    return checked


def typed(name: str, value: Any, settings: dict[str, Any]) -> Any:
    """A value as the configuration takes it.

    Raises:
        InputError: it does not.
    """
    return build_config(settings, {name: value}).flat()[name]
