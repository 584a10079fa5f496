"""Results of the experiments: one small file for each unit, checked by a schema and against itself, never mixed."""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib.experiments.plan import ARMS, CANDIDATES, Unit, plan, unit_schedule
from lib.files import user_path, write_atomically
from lib.learning_rates import LearningRateBounds, last_epoch, select_bounds
from lib.training import HISTORY_COLUMNS, MEASURES, TrainingRun

LOG = logging.getLogger(__name__)
SCHEMA_VERSION = 1
HISTORY_ROWS = 300  # a stored history is thinned to about this many rows
COUNTS = ("iteration", "samples_seen", "batch_size")  # the columns of a history that hold whole numbers


class MissingResults(RuntimeError):
    """An experiment needs results of another one that has not finished; the message says which and how to get them."""


def _object(**properties: dict) -> dict:
    """Schema of an object with exactly these keys."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


_TEXT, _YES_OR_NO, _AMOUNT = {"type": "string"}, {"type": "boolean"}, {"type": "number", "minimum": 0}
_COUNT = {"type": "integer", "minimum": 0}
_COLUMN = {"type": "array", "minItems": 1}
_MEASURED = {"type": ["number", "null"], "minimum": 0}  # null: not finite, or not evaluated
SCHEMA = _object(
    schema={"const": SCHEMA_VERSION},
    **dict.fromkeys(("unit", "experiment", "profile"), _TEXT),
    seed=_COUNT,
    settings={"type": "object"},  # those of a unit, see `_unit_of`
    provenance=_object(
        git_commit={"type": ["string", "null"]},
        git_clean={"type": ["boolean", "null"]},
        versions={"type": "object", "minProperties": 1},
        **dict.fromkeys(("system", "device", "device_name", "precision", "precision_reason"), _TEXT),
        channels_last=_YES_OR_NO,
        threads={"type": "integer", "minimum": 1},
        **dict.fromkeys(("started", "finished"), _TEXT),
        **dict.fromkeys(("wall_seconds", "images_per_second"), _AMOUNT),
        resumed_after={"type": "array"},
    ),
    diverged=_YES_OR_NO,
    summary=_object(**dict.fromkeys(MEASURES, _MEASURED), samples_seen=_COUNT),
    history=_object(**dict.fromkeys(HISTORY_COLUMNS, _COLUMN)),
)


@functools.cache
def _schema_check() -> Callable[[dict], Exception | None]:
    """What finds a result's error against the schema: nothing, which is said once, where there is no jsonschema."""
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match
    except ModuleNotFoundError:  # as on a machine with a GPU that came with its own PyTorch
        LOG.warning("without jsonschema a result is checked against itself only, and by the schema where it is read")
        return lambda result: None
    validator = Draft202012Validator(SCHEMA)
    return lambda result: best_match(validator.iter_errors(result))


def validate_result(result: dict) -> None:
    """Raise ValueError unless a result has the schema, and agrees with itself: name, settings, history and summary."""
    if error := _schema_check()(result):
        raise ValueError(f"{'.'.join(map(str, error.absolute_path)) or 'the result'}: {error.message:.300}")
    try:
        _check_against_itself(result)
    except (KeyError, TypeError, AttributeError, IndexError) as error:  # which the schema would have said
        raise ValueError(f"the result is incomplete: {error!r}") from error


def _check_against_itself(result: dict) -> None:
    unit = _unit_of(result["settings"])
    told = {"unit": unit.id, "experiment": unit.experiment, "profile": unit.profile, "seed": unit.settings.seed}
    for name, value in told.items():
        if result[name] != value:
            raise ValueError(f"{name} is {result[name]!r}, but the settings are those of {value!r}")
    _check_history(result["history"], unit_schedule(unit))
    ends_early = result["history"]["iteration"][-1] < len(unit.settings.batch_sizes)
    if not result["diverged"] and (ends_early or result["summary"]["train_loss"] is None):
        raise ValueError("the history ends early, or its last loss is missing, and the run did not diverge")
    _check_summary(result["summary"], _table(result["history"]), result["diverged"])


def _unit_of(settings: dict) -> Unit:
    """The unit of which these are the settings, to the last key and value."""
    try:
        unit = Unit.from_stored(settings)
        expected = unit.as_stored()
    except (KeyError, TypeError) as error:
        raise ValueError(f"settings are those of no unit: {error!r}") from error
    different = [name for name in expected.keys() | settings if expected.get(name) != settings.get(name)]
    if different:
        raise ValueError(f"settings are those of no unit: {', '.join(sorted(different))}")
    return unit


def _check_history(history: dict[str, list], planned: pd.DataFrame) -> None:
    """Raise ValueError for a stored history that is not of a training as it was planned."""
    if len({len(column) for column in history.values()}) > 1:
        raise ValueError("the columns of history must have one length")
    for name, column in history.items():  # not by the schema, which takes a tenth of a second for them
        kinds = {int} if name in COUNTS else {int, float, type(None)} if name in MEASURES else {int, float}
        most = 1 if "accuracy" in name else math.inf
        if {*map(type, column)} - kinds or not all(value is None or 0 <= value <= most for value in column):
            raise ValueError(f"{name} in history holds what it cannot be")
    rows = np.array(history["iteration"]) - 1
    if (np.diff(rows, prepend=-1) <= 0).any() or rows[-1] >= len(planned):
        raise ValueError("iteration in history must rise, up to the number of iterations that is planned")
    planned = planned.iloc[rows]
    images = round(history["samples_seen"][-1] / max(history["epoch"][-1], 1e-9))  # of one epoch
    for name, values in planned.assign(epoch=planned["samples_seen"] / max(images, 1)).items():
        if [_plain(value) for value in values.tolist()] != history[name]:
            raise ValueError(f"{name} in history is not that of the settings")


def _check_summary(summary: dict, history: pd.DataFrame, diverged: bool) -> None:
    """Raise ValueError for a summary that its own history contradicts."""
    told = summarise(history)
    if diverged:  # where the rows of a thinned history end decides what of its last epoch is left
        told["train_accuracy"] = summary["train_accuracy"]
    for name, value in told.items():
        rounded = name.startswith("train") and None not in (value, summary[name])  # the history has six digits
        agree = math.isclose(value, summary[name], rel_tol=1e-4) if rounded else value == summary[name]
        if not agree:
            raise ValueError(f"{name} in summary is {summary[name]}, but the history says {value}")


def summarise(history: pd.DataFrame) -> dict:
    """Training loss and accuracy over the last epoch, and the last evaluation, as they are stored.

    The loss is the mean over iterations, as in `candidate_losses`, and the accuracy that over images; of a thinned
    history too, whose rows stand for several iterations.
    """
    rows = last_epoch(history)
    iterations, samples = (history[name].diff().fillna(history[name])[rows.index] for name in COUNTS[:2])
    evaluations = history.loc[history["test_accuracy"].notna(), ["test_loss", "test_accuracy"]]
    test_loss, test_accuracy = evaluations.iloc[-1] if len(evaluations) else (math.nan, math.nan)
    diverged = len(evaluations) and not math.isfinite(test_loss)  # in the evaluation
    values = {
        "train_loss": math.nan if diverged else np.average(rows["train_loss"], weights=iterations),
        "train_accuracy": np.average(rows["train_accuracy"], weights=samples),
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "samples_seen": int(history["samples_seen"].iloc[-1]),
    }
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: float) -> int | float | None:
    """A number as JSON has it: six significant digits, and null for what is not finite."""
    if isinstance(value, int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def thin(history: pd.DataFrame, rows: int) -> pd.DataFrame:
    """A history of about so many rows, each joining the iterations since the row before it.

    Training loss and accuracy are means over their samples; the other columns are those of the last iteration. A row
    ends at every evaluation, and joins no batches of different size. Where a loss is missing (NaN), so is its row's.
    """
    window = history["samples_seen"].sub(1) // math.ceil(history["samples_seen"].iloc[-1] / rows)
    evaluated = history["test_loss"].notna().shift(fill_value=False).cumsum()
    resized = (history["batch_size"] != history["batch_size"].shift()).cumsum()
    groups = history.groupby([window, evaluated, resized], sort=False)
    thinned = groups.tail(1).reset_index(drop=True)
    for column in ("train_loss", "train_accuracy"):
        weighted = (history[column] * history["batch_size"]).groupby([window, evaluated, resized], sort=False)
        complete = weighted.count() == groups.size()
        thinned[column] = (weighted.sum() / groups["batch_size"].sum()).where(complete).to_numpy()
    return thinned


def write_result(path: Path, unit: Unit, run: TrainingRun, provenance: dict) -> None:
    """Store a finished training in one step, if it is valid."""
    stored, columns = unit.as_stored(), thin(run.history, HISTORY_ROWS).to_dict("list")
    result = {
        "schema": SCHEMA_VERSION,
        "unit": unit.id,
        **{name: stored[name] for name in ("experiment", "profile", "seed")},
        "settings": stored,
        "provenance": provenance,
        "diverged": run.diverged,
        "summary": summarise(run.history),
        "history": {column: [_plain(value) for value in values] for column, values in columns.items()},
    }
    validate_result(result)
    write_atomically(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


def read_result(path: Path) -> dict:
    """A stored result, checked, with its history as a DataFrame (null is NaN); ValueError names a damaged file."""
    try:
        result = json.loads(Path(path).read_text())
        validate_result(result)
    except ValueError as error:  # of the JSON too
        raise ValueError(f"{path} is no valid result: {error}; delete it, and run the unit again") from error
    return result | {"history": _table(result["history"])}


def _table(history: dict[str, list]) -> pd.DataFrame:
    return pd.DataFrame(history).astype({column: float for column in HISTORY_COLUMNS if column not in COUNTS})


class Results:
    """The results of a directory; each file is read, and checked, once, when it is first asked for."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = user_path(directory)
        if not self.directory.is_dir():
            there = "is no directory" if self.directory.exists() else "does not exist"
            raise FileNotFoundError(f"the directory of results {self.directory} {there}")
        self._read: dict[str, dict] = {}
        self._refused: set[str] = set()

    @classmethod
    def of(cls, directory: Path | str | Results) -> Results:
        return directory if isinstance(directory, cls) else cls(directory)

    def path(self, unit: str) -> Path:
        return self.directory / f"{unit}.json"

    def get(self, unit: str) -> dict | None:
        """The result of a unit's id, None if there is none; ValueError if it is damaged."""
        if unit not in self._read and self.path(unit).exists():
            self._read[unit] = read_result(self.path(unit))
        return self._read.get(unit)

    def all(self, pattern: str = "*") -> list[dict]:
        """Every readable result whose id has a pattern; what else lies there is named in the log."""
        found = []
        for path in sorted(self.directory.glob(f"{pattern}.json")):
            try:
                found.append(self.get(path.stem))
            except ValueError as error:
                if path.stem not in self._refused:
                    LOG.warning("%s", error)
                self._refused.add(path.stem)
        return found


def load_results(
    name: str,
    profile: str,
    directory: Path | Results,
    seeds: Sequence[int] | None = None,
    *,
    precision: str = "auto",
    **options: object,
) -> list[dict]:
    """Results of the finished units of an experiment with its present settings; a history is a DataFrame, thinned.

    The arguments are those of `plan`. With `precision` "auto" they are those in bfloat16 where there are such, else in
    float32, whatever this machine would choose.

    ValueError if a file is damaged, or the results are of different precisions or kinds of device; MissingResults if
    lr-range has not finished, from which the arms take their bounds; FileNotFoundError if there is no such directory.
    """
    stored, found = Results.of(directory), []
    for asked in ("bfloat16", "float32") if precision == "auto" else (precision,):
        bounds = stored_bounds(profile, stored, asked) if name in ARMS else None
        units = plan(name, profile, bounds, seeds, precision=asked, **options)
        found = [result for unit in units if (result := stored.get(unit.id))]
        if found:
            break
    check_one_kind(found)
    if precision != "auto" and found and kind_of(found[0])[0] != precision:
        raise ValueError(f"{found[0]['unit']} was computed in {kind_of(found[0])[0]}, not in {precision}")
    return found


def stored_bounds(profile: str, directory: Path | Results, precision: str = "auto") -> LearningRateBounds:
    """lr_min and lr_max by `select_bounds` from the finished lr-range of a profile; MissingResults if it is not.

    The bounds are an input of the arms: where there is no sweep in the precision that is asked for, those of the other
    serve, and the log says so.
    """
    stored = Results.of(directory)
    asked = ("float32", "bfloat16") if precision == "float32" else ("bfloat16", "float32")
    curves = {kind: load_results("lr-range", profile, stored, precision=kind) for kind in asked}
    for kind, curve in curves.items():
        if len(curve) == len(CANDIDATES):
            if precision not in ("auto", kind):
                LOG.info("bounds of %s %s are those of its sweep in %s", precision, profile, kind)
            losses = [math.inf if result["diverged"] else result["summary"]["train_loss"] for result in curve]
            rates = [result["settings"]["learning_rate"] for result in curve]
            return select_bounds(pd.DataFrame({"learning_rate": rates, "train_loss": losses}))
    missing = len(CANDIDATES) - max(map(len, curves.values()))
    raise MissingResults(
        f"lr-range {profile} lacks {missing} of its {len(CANDIDATES)} candidates, from which lr_min and lr_max are "
        f"chosen: first run `python -m lib.experiments run lr-range --profile {profile} --results {stored.directory}"
        f"{f' --precision {precision}' * (precision != 'auto')}`"
    )


def kind_of(result: dict) -> tuple[str, str]:
    """Precision and kind of device: results that differ in it are not to be mixed."""
    return result["provenance"]["precision"], result["provenance"]["device"].split(":")[0]


def check_one_kind(results: Sequence[dict], *more: tuple[str, str], across_precisions: bool = False) -> None:
    """Raise ValueError for results of different precisions, or from different kinds of device."""
    kinds = {*map(kind_of, results), *more}
    devices, precisions = sorted({device for _, device in kinds}), sorted({precision for precision, _ in kinds})
    mixed = devices if len(devices) > 1 else precisions
    if len(mixed) > 1 and not (mixed is precisions and across_precisions):
        raise ValueError(
            f"results in {' and '.join(mixed)} are not to be mixed: give each kind a directory of its own "
            "(--results), or ask for one precision (--precision)"
        )
