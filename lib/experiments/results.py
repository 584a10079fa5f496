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

from lib.experiments.plan import ARMS, CANDIDATES, PROFILES, Unit, plan, unit_id
from lib.files import user_path, write_atomically
from lib.learning_rates import LearningRateBounds, last_epoch, select_bounds
from lib.training import HISTORY_COLUMNS, TrainingRun

LOG = logging.getLogger(__name__)
SCHEMA_VERSION = 1
HISTORY_ROWS = 300  # a stored history is thinned to about this many rows
COUNTS = ("iteration", "samples_seen", "batch_size")  # the columns of a history that hold whole numbers


class MissingResults(RuntimeError):
    """An experiment needs results of another one that has not finished; the message says which and how to get them."""


def _object(**properties: dict) -> dict:
    """Schema of an object with exactly these keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_WHOLE, _TEXT, _SIZE = {"type": "integer", "minimum": 0}, {"type": "string"}, {"type": "number", "minimum": 0}
_MEASURED = {"type": ["number", "null"], "minimum": 0}  # null: not finite, or not evaluated
_FRACTION = _MEASURED | {"maximum": 1}
SCHEMA = _object(
    schema={"const": SCHEMA_VERSION},
    unit=_TEXT,
    experiment=_TEXT,
    profile={"enum": list(PROFILES)},
    seed=_WHOLE,
    settings=_object(
        experiment=_TEXT,
        profile=_TEXT,
        seed=_WHOLE,
        model=_TEXT,
        data=_TEXT,
        data_sha256=_TEXT,
        optimizer=_TEXT,
        momentum=_SIZE,
        weight_decay=_SIZE,
        learning_rate=_SIZE,
        schedule={"type": ["object", "null"]},
        batch_sizes={"type": "array", "items": {"type": "array", "items": _WHOLE, "minItems": 2, "maxItems": 2}},
        micro_batch_size=_WHOLE,
        evaluate_every=_WHOLE,
        precision=_TEXT,
    ),
    provenance=_object(
        git_commit={"type": ["string", "null"]},
        git_clean={"type": ["boolean", "null"]},
        versions={"type": "object", "minProperties": 1},
        system=_TEXT,
        device=_TEXT,
        device_name=_TEXT,
        threads=_WHOLE | {"minimum": 1},
        started=_TEXT,
        precision=_TEXT,
        channels_last={"type": "boolean"},
        precision_reason=_TEXT,
        finished=_TEXT,
        wall_seconds=_SIZE,
        images_per_second=_SIZE,
        resumed_after={"type": "array"},
    ),
    diverged={"type": "boolean"},
    summary=_object(
        train_loss=_MEASURED,
        train_accuracy=_FRACTION,
        test_loss=_MEASURED,
        test_accuracy=_FRACTION,
        samples_seen=_WHOLE,
    ),
    history=_object(**{name: {"type": "array", "minItems": 1} for name in HISTORY_COLUMNS}),
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
    """Raise ValueError unless a result has the schema, and agrees with itself: hash, settings, history and summary."""
    if error := _schema_check()(result):
        raise ValueError(f"{'.'.join(map(str, error.absolute_path)) or 'the result'}: {error.message:.300}")
    if result["unit"] != unit_id(result["settings"]):
        raise ValueError(f"unit is {result['unit']!r}, but the settings are those of {unit_id(result['settings'])!r}")
    if any(result[key] != result["settings"][key] for key in ("experiment", "profile", "seed")):
        raise ValueError("experiment, profile or seed differs from the settings'")
    history = result["history"]
    if len({len(column) for column in history.values()}) > 1:
        raise ValueError("the columns of history must have one length")
    for name, column in history.items():  # not by the schema, which takes a tenth of a second for them
        kinds, most = ({int} if name in COUNTS else {int, float, type(None)}), 1 if "accuracy" in name else math.inf
        if {*map(type, column)} - kinds or not all(value is None or 0 <= value <= most for value in column):
            raise ValueError(f"{name} in history holds what it cannot be")
    sizes = np.array([size for size, count in result["settings"]["batch_sizes"] for _ in range(count)])
    rows = np.array(history["iteration"]) - 1
    if (np.diff(rows, prepend=-1) <= 0).any() or rows[-1] >= len(sizes):
        raise ValueError("iteration in history must rise, up to the number of iterations that is planned")
    if history["samples_seen"] != sizes.cumsum()[rows].tolist() or history["batch_size"] != sizes[rows].tolist():
        raise ValueError("samples_seen or batch_size in history are not those of the settings")
    if not result["diverged"] and (rows[-1] + 1 < len(sizes) or result["summary"]["train_loss"] is None):
        raise ValueError("the history ends early, or its last loss is missing, and the run did not diverge")
    _check_summary(result["summary"], _table(result), result["diverged"])


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
    evaluated = history.loc[history["test_accuracy"].notna(), ["test_loss", "test_accuracy"]].tail(1)
    values = {
        "train_loss": np.average(rows["train_loss"], weights=iterations),
        "train_accuracy": np.average(rows["train_accuracy"], weights=samples),
        "test_loss": evaluated["test_loss"].sum(skipna=False) if len(evaluated) else math.nan,
        "test_accuracy": evaluated["test_accuracy"].sum() if len(evaluated) else math.nan,
    }
    if len(evaluated) and not math.isfinite(values["test_loss"]):
        values["train_loss"] = math.nan  # it diverged in the evaluation
    return {name: _plain(value) for name, value in values.items()} | {
        "samples_seen": int(history["samples_seen"].iloc[-1])
    }


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


def result_of(unit: Unit, run: TrainingRun, provenance: dict) -> dict:
    """A finished training as it is stored."""
    stored, columns = unit.as_stored(), thin(run.history, HISTORY_ROWS).to_dict("list")
    return {
        "schema": SCHEMA_VERSION,
        "unit": unit.id,
        **{name: stored[name] for name in ("experiment", "profile", "seed")},
        "settings": stored,
        "provenance": provenance,
        "diverged": run.diverged,
        "summary": summarise(run.history),
        "history": {column: [_plain(value) for value in values] for column, values in columns.items()},
    }


def write_result(path: Path, result: dict) -> None:
    """Store a result that is valid, in one step."""
    validate_result(result)
    write_atomically(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


def read_result(path: Path) -> dict:
    """A stored result, checked, with its history as a DataFrame (null is NaN); ValueError names a damaged file."""
    try:
        result = json.loads(Path(path).read_text())
        validate_result(result)
    except ValueError as error:  # of the JSON too
        raise ValueError(f"{path} is no valid result: {error}; delete it, and run the unit again") from error
    return result | {"history": _table(result)}


def _table(result: dict) -> pd.DataFrame:
    floats = {column: float for column in HISTORY_COLUMNS if column not in COUNTS}
    return pd.DataFrame(result["history"]).astype(floats)


class Results:
    """The results of a directory; each file is read, and checked, once, when it is first asked for."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = user_path(directory)
        if not self.directory.is_dir():
            there = "is no directory" if self.directory.exists() else "does not exist"
            raise FileNotFoundError(f"the directory of results {self.directory} {there}")
        self._read: dict[str, dict] = {}

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
                LOG.warning("%s", error)
        return found


def load_results(
    name: str,
    profile: str,
    directory: Path | Results,
    seeds: Sequence[int] | None = None,
    *,
    precision: str = "auto",
    micro_batch_size: int = 256,
) -> list[dict]:
    """Results of the finished units of an experiment with its present settings; a history is a DataFrame, thinned.

    Parameters
    ----------
    name, profile, seeds, micro_batch_size
        See `plan`.
    directory : path
        Where the results are.
    precision : {"auto", "float32", "bfloat16"}
        "auto": in bfloat16 where there are such, else in float32, whatever this machine would choose.

    Raises
    ------
    ValueError
        If a file is damaged, or the results are of different precisions or kinds of device.
    MissingResults
        If lr-range has not finished, from which the arms take their bounds.
    FileNotFoundError
        If there is no such directory.
    """
    stored = directory if isinstance(directory, Results) else Results(directory)
    found: list[dict] = []
    for asked in ("bfloat16", "float32") if precision == "auto" else (precision,):
        bounds = stored_bounds(profile, stored, precision=asked) if name in ARMS else None
        units = plan(name, profile, bounds, seeds, precision=asked, micro_batch_size=micro_batch_size)
        found = found or [result for unit in units if (result := stored.get(unit.id))]
    check_one_kind(found)
    if precision != "auto" and found and found[0]["provenance"]["precision"] != precision:
        raise ValueError(
            f"{found[0]['unit']} was computed in {found[0]['provenance']['precision']}, not in {precision}"
        )
    return found


def stored_bounds(profile: str, directory: Path | Results, precision: str = "auto") -> LearningRateBounds:
    """lr_min and lr_max by `select_bounds` from the finished lr-range of a profile; MissingResults if it is not.

    The bounds are an input of the arms: where there is no sweep in the precision that is asked for, those of the other
    serve, and the log says so.
    """
    stored = directory if isinstance(directory, Results) else Results(directory)
    asked = ("float32", "bfloat16") if precision == "float32" else ("bfloat16", "float32")
    curves = {kind: load_results("lr-range", profile, stored, precision=kind) for kind in asked}
    for kind, curve in curves.items():
        if len(curve) == len(CANDIDATES):
            if precision != "auto" and kind != precision:
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
    devices, precisions = {device for _, device in kinds}, {precision for precision, _ in kinds}
    mixed = [*sorted(devices)] if len(devices) > 1 else [] if across_precisions else sorted(precisions)
    if len(mixed) > 1:
        raise ValueError(
            f"results in {' and '.join(mixed)} are not to be mixed: give each kind a directory of its own "
            "(--results), or ask for one precision (--precision)"
        )
