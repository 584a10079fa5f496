"""What is said of several comparisons at once: Holm's rule, verdicts by it, and trainings of different length."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.experiments import common_stage_means, holm, paired_differences, stage_differences

PROVENANCE = {"precision": "float32", "device": "cpu"}


def finished(seed: int, accuracy: float = 0.5, slope: float = 0.0) -> dict:
    """As much of a quick result as comparisons read; its loss falls from 1 by the slope."""
    samples = np.arange(40, 12_001, 40)
    history = pd.DataFrame({"samples_seen": samples, "train_loss": 1 - slope * samples / 12_000})
    summary = {"test_accuracy": accuracy, "samples_seen": 12_000}
    made = {"unit": f"u{seed}", "profile": "quick", "seed": seed, "summary": summary}
    return made | {"provenance": PROVENANCE, "history": history}


def test_holm_of_a_worked_example() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_was_not_tested_is_not_counted() -> None:
    corrected = holm(pd.Series([np.nan, 0.02, 0.04], index=["x", "y", "z"]))
    assert corrected.index.tolist() == ["x", "y", "z"]
    assert np.isnan(corrected["x"])
    assert corrected[["y", "z"]].tolist() == pytest.approx([0.04, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(values: list[float]) -> None:
    p = np.array(values)
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, len(p) * p) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()


def test_a_difference_that_is_separable_alone_need_not_be_among_others() -> None:
    values = {"a": [0.50, 0.60, 0.55], "b": [0.40, 0.53, 0.44], "c": [0.2, 0.9, 0.4], "d": [0.7, 0.1, 0.5]}
    arms = {label: [finished(seed, v) for seed, v in enumerate(row)] for label, row in values.items()}
    alone = paired_differences(arms, [("a", "b")])
    among = paired_differences(arms, [("a", "b"), ("a", "c"), ("a", "d"), ("c", "d"), ("b", "c")])
    assert alone["p"].iloc[0] == among["p"].iloc[0] < 0.05 < among["p_holm"].iloc[0]
    assert (alone["verdict"].iloc[0], among["verdict"].iloc[0]) == ("higher", "not separable")


@pytest.mark.filterwarnings("error")  # a test statistic of 0 / 0 would warn
def test_a_stage_in_which_both_are_the_same_training_is_no_comparison() -> None:
    one, other = ([finished(seed, slope=0.1 * seed) for seed in range(3)] for _ in range(2))
    for shift, made in zip((0.01, 0.02, 0.015), one, strict=True):
        made["history"].loc[made["history"]["samples_seen"] > 2_400, "train_loss"] += shift
    table = stage_differences({"a": one, "b": other}, "a", "b")
    assert table["verdict"].tolist() == ["the same"] + 4 * [table["verdict"].iloc[1]]
    assert np.isnan(table["p"].iloc[0])
    assert table["difference"].tolist() == pytest.approx([0] + [0.015] * 4)
    assert table["p_holm"].iloc[1:].tolist() == pytest.approx((4 * table["p"].iloc[1:]).tolist())  # of four, not five


@pytest.mark.parametrize("cut", [1, 3])
def test_a_stage_that_a_training_has_not_reached_has_no_verdict(cut: int) -> None:
    one, other = ([finished(seed, slope=0.1 * seed + x) for seed in range(3)] for x in (0.0, 0.01))
    for made in one[:cut]:
        made["history"] = made["history"].iloc[:75]  # a part of the second stage
        made["summary"]["samples_seen"] = 3_000
    table = stage_differences({"a": one, "b": other}, "a", "b")
    assert table["verdict"].iloc[0] != "a mean is missing: no verdict"
    assert set(table["verdict"].iloc[1:]) == {"a mean is missing: no verdict"}
    assert table[["low", "high", "p", "p_holm"]].iloc[1:].isna().all(axis=None)


def test_common_stages_end_with_the_shortest_training() -> None:
    long, short = finished(0, slope=1.0), finished(0, slope=1.0)
    short["history"] = short["history"].iloc[:75]  # 3,000 samples: the first stage, of 2,400, and a part of the second
    short["summary"]["samples_seen"] = 3_000
    means = common_stage_means({"long": long, "short": short})
    assert means.index.tolist() == [32, 64]
    assert means["long"].tolist() == pytest.approx(means["short"].tolist())
    assert means["long"].iloc[1] == pytest.approx(1 - np.arange(2_440, 3_001, 40).mean() / 12_000)


@pytest.mark.parametrize("trainings", [{}, {"a": finished(0), "b": finished(1)}])
def test_common_stages_are_of_one_profile_and_seed(trainings: dict) -> None:
    with pytest.raises(ValueError, match="one profile and one seed"):
        common_stage_means(trainings)
