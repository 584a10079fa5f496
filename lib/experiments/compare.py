"""Comparisons of finished experiments, seed by seed: differences, intervals, p-values corrected for their number.

What is compared are groups: a mapping of labels to results of one profile, as from `load_results`, one of a seed in
each group. ValueError for groups that mix profiles, precisions or kinds of device; ArgumentError, which is one too, for
an unknown label, two results of one seed in a group, or a quantity that a result does not have. Means of stages alone
may be of several precisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lib.arguments import ArgumentError
from lib.experiments.plan import PROFILES, stages
from lib.experiments.results import check_one_kind
from lib.learning_rates import mean_by_samples

Groups = Mapping[str, Sequence[dict]]
LEVEL = 0.05  # of the corrected p, below which two groups are called separable
FEW = ("no seed in common", "one seed: no verdict")
UNKNOWN = "a mean is missing: no verdict"  # of a stage that a training which diverged has not seen whole


def holm(p: pd.Series | np.ndarray) -> pd.Series | np.ndarray:
    """p-values corrected for how many there are: the k-th smallest of n times n - k + 1, none below one before it.

    The chance of even one false finding among all of them then stays below the level. NaN, where nothing was tested,
    stays NaN and is not counted.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.

    >>> holm(np.array([0.04, 0.01])).tolist()
    [0.04, 0.02]
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN is sorted to the end
    corrected = np.full(values.shape, np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return pd.Series(corrected, p.index, name=p.name) if isinstance(p, pd.Series) else corrected


def paired_differences(
    groups: Groups,
    pairs: str | Sequence[tuple[str, str]],
    quantities: str | Sequence[str] = "test_accuracy",
    *,
    across_precisions: bool = False,
) -> pd.DataFrame:
    """Differences between groups of results, seed by seed, with a 95 % interval of Student's t.

    Runs of one seed share their initial weights and the order of images, whatever their batches.

    Parameters
    ----------
    groups : mapping of label to results
    pairs : str or sequence of (label, reference)
        Which to compare; a label alone is the reference of all others.
    quantities : str or sequence of str
        Keys of a result's summary.
    across_precisions : bool
        Whether groups of different precisions may be compared, because that is the question.

    Returns
    -------
    DataFrame, one row a comparison
        group, reference, quantity; seeds (those that both have), difference (mean, group less reference), sd (of the
        differences), low and high (ends of the interval, which is of this comparison alone), p (two-sided, of the
        paired t-test), p_holm (see `holm`; over all rows of this table), NaN for fewer than two seeds; and verdict, by
        p_holm: "higher", "lower", "not separable"; without a p "the same", "one seed: no verdict", "no seed in common",
        or "a mean is missing: no verdict".
    """
    _check_groups(groups, across_precisions)
    quantities = [quantities] if isinstance(quantities, str) else list(quantities)
    values = {
        (label, quantity): pd.Series({result["seed"]: _value(result, quantity) for result in results})
        for label, results in groups.items()
        for quantity in quantities
    }
    rows = [
        {"group": label, "reference": reference, "quantity": quantity}
        | _paired(values[label, quantity], values[reference, quantity])
        for label, reference in _pairs(pairs, groups)
        for quantity in quantities
    ]
    return _with_verdicts(pd.DataFrame(rows))


def stage_means(groups: Groups, column: str = "train_loss") -> pd.DataFrame:
    """Means over the samples of each stage of batch-growth and lr-decay (see `stages`), of any precisions.

    `column` is that of a history. Returns a DataFrame, one row a stage, one column a label and seed; its index is the
    batch size that batch-growth has in the stage. A row of the thinned history counts to the stage in which it ends. A
    stage that a training has not seen whole has NaN.
    """
    batches, ends = _stage_ends(_check_groups(groups, across_precisions=True))
    means = {
        (label, result["seed"]): np.where(
            ends <= result["history"]["samples_seen"].iloc[-1],
            mean_by_samples(result["history"], ends, column).reindex(ends),
            np.nan,
        )
        for label, results in groups.items()
        for result in sorted(results, key=lambda result: result["seed"])
    }
    return pd.DataFrame(means, index=batches).rename_axis(columns=("group", "seed"))


def stage_differences(groups: Groups, group: str, reference: str, column: str = "train_loss") -> pd.DataFrame:
    """Stage by stage, a mean of one group less that of another, over the seeds that both have.

    Returns a DataFrame, one row a stage: value and reference_value (the two means), then the columns of
    `paired_differences`, with Holm's correction over the stages. A stage in which both are the same training has no p,
    is not counted among the comparisons, and has the verdict "the same".
    """
    ((label, other),) = _pairs([(group, reference)], groups)
    chosen = {name: groups[name] for name in (label, other)}
    _check_groups(chosen, across_precisions=False)
    means = stage_means(chosen, column)
    one, two = means[label], means[other]
    common = one.columns.intersection(two.columns)
    if common.empty:
        raise ArgumentError(f"{label} and {other} have no seed in common")
    rows = [
        {"value": one.loc[batch, common].mean(), "reference_value": two.loc[batch, common].mean()}
        | _paired(one.loc[batch], two.loc[batch])
        for batch in means.index
    ]
    return _with_verdicts(pd.DataFrame(rows, index=means.index))


def common_stage_means(trainings: Mapping[str, dict], column: str = "train_loss") -> pd.DataFrame:
    """Means over those samples of each stage that all of a few trainings have seen, also of one without stages.

    It holds arms against a training that changes neither rate nor batch and may be shorter. Takes results by their
    labels, all of one profile and one seed, else ArgumentError. Returns a DataFrame, one row a stage, one column a
    label, up to the end of the shortest training, by which the last stage may be cut.
    """
    kinds = {(result["profile"], result["seed"]) for result in trainings.values()}
    if len(kinds) != 1:
        raise ArgumentError(f"trainings must be of one profile and one seed, not of {sorted(kinds) or 'none'}")
    batches, ends = _stage_ends(*{profile for profile, _ in kinds})
    seen = min(result["summary"]["samples_seen"] for result in trainings.values())
    reached = np.append(ends[ends < seen], seen)
    means = {
        label: mean_by_samples(result["history"], reached, column).reindex(reached).to_numpy()
        for label, result in trainings.items()
    }
    return pd.DataFrame(means, index=batches[: len(reached)])


def _stage_ends(profile: str) -> tuple[pd.Index, np.ndarray]:
    """The growing batch of each stage, and the samples seen at its end."""
    parts = stages(PROFILES[profile].arm_samples, PROFILES[profile].largest_batch)
    return pd.Index([batch for batch, _ in parts], name="batch"), np.cumsum([samples for _, samples in parts])


def _check_groups(groups: Groups, across_precisions: bool) -> str:
    """The one profile of all results; or what is wrong with them."""
    for label, results in groups.items():
        seeds = [result["seed"] for result in results]
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ArgumentError(
                f"groups: {label!r} holds two results of seed {twice[0]}; give them labels of their own"
            )
        check_one_kind(results)
    everything = [result for results in groups.values() for result in results]
    check_one_kind(everything, across_precisions=across_precisions)
    profiles = sorted({result["profile"] for result in everything})
    if len(profiles) != 1:
        raise ValueError(f"results must be of one profile, not of {' and '.join(profiles) or 'none'}")
    return profiles[0]


def _pairs(pairs: str | Sequence[tuple[str, str]], groups: Groups) -> list[tuple[str, str]]:
    """(label, reference) of every comparison."""
    if isinstance(pairs, str):
        pairs = [(label, pairs) for label in groups if label != pairs] or [(pairs, pairs)]
    unknown = [label for pair in pairs for label in pair if label not in groups]
    if unknown:
        raise ArgumentError(
            f"pairs must name labels of groups ({', '.join(groups) or 'there are none'}), not {unknown[0]!r}"
        )
    return list(pairs)


def _value(result: dict, quantity: str) -> float:
    value = result["summary"].get(quantity)
    if value is None:
        raise ArgumentError(f"{result['unit']} has no {quantity!r}; its summary has {', '.join(result['summary'])}")
    return value


def _paired(one: pd.Series, other: pd.Series) -> dict:
    """Student's paired t of two series over the seeds that both have."""
    one, other = one.align(other, join="inner")
    differences, n = one - other, len(one)
    row = {"seeds": n, "difference": differences.mean(skipna=False), "sd": differences.std(ddof=1, skipna=False)}
    if n < 2 or differences.isna().any():
        return row | {"low": np.nan, "high": np.nan, "p": np.nan}
    if (differences == 0).all():  # the same training: nothing to test, and t would be 0 / 0
        return row | {"low": 0.0, "high": 0.0, "p": np.nan}
    from scipy import stats  # half a second, which no worker that only trains need wait for

    test = stats.ttest_rel(one, other)
    low, high = test.confidence_interval(0.95)
    return row | {"low": low, "high": high, "p": test.pvalue}


def _with_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its p-values corrected together, and what follows from each."""
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"]))
    direction = np.where(table["difference"] > 0, "higher", "lower")
    verdict = np.where(table["p_holm"] < LEVEL, direction, "not separable")
    verdict = np.where(table["p"].isna(), np.where(table["difference"].isna(), UNKNOWN, "the same"), verdict)
    few = table["seeds"].map(dict(enumerate(FEW)))
    return table.assign(verdict=few.where(few.notna(), verdict))
