"""Problem 2's experiment: published figures, counts by hand, and enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

from lib.precision_recall_gain import auprg_score, fbeta_gain_score
from lib.two_classifiers import (
    advantage,
    area_table,
    expected_auprg_of_random_ranking,
    load_cases,
    points_of,
    published_split,
    random_splits,
    ranking_measures,
    splits_judged_by_f1,
)


def test_published_split_of_diabetes_has_the_published_areas():
    labels, scores = published_split("diabetes")
    areas = {
        "AdaBoost": (0.8160991140642303, 0.6583825843463507),
        "logistic regression": (0.79948781838, 0.65225178823),
    }
    for classifier, expected in areas.items():
        precision, recall, _ = precision_recall_curve(labels, scores[classifier])
        found = roc_auc_score(labels, scores[classifier]), auc(recall, precision)
        assert found == pytest.approx(expected, rel=1e-9)


def test_area_table_holds_the_areas_of_each_classifier():
    labels, scores = np.array([1, 1, 0, 0]), {"AdaBoost": [4, 3, 2, 1], "logistic regression": [1, 1, 1, 1]}
    table = area_table(labels, scores)
    assert table["AdaBoost"].tolist() == [1, 1, 1]
    assert table["logistic regression"].tolist() == [0.5, 0.5, 0]
    assert table["difference"].tolist() == [0.5, 0.5, 1]


def test_random_splits_hold_a_third_of_the_cases_and_begin_alike():
    _, labels = load_cases("diabetes")
    one, *_ = random_splits("diabetes", 1)
    first, second = random_splits("diabetes", 2)
    assert len(one[0]) == np.ceil(0.33 * len(labels))
    np.testing.assert_array_equal(first[0], one[0])
    np.testing.assert_array_equal(first[1]["AdaBoost"], one[1]["AdaBoost"])
    assert not np.array_equal(first[1]["AdaBoost"], second[1]["AdaBoost"])


def test_points_of_decisions_are_counts_by_hand():
    """TP 2, FN 1, FP 1, TN 3."""
    points = points_of(np.array([1, 1, 1, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0, 0]))
    assert points["ROC"] == (1 / 4, 2 / 3)
    assert points["PR"] == (2 / 3, 2 / 3)
    assert points["PR-Gain"] == pytest.approx((5 / 8, 5 / 8))


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.uint8, bool, float])
def test_counts_of_points_and_measures_are_exact_for_labels_of_any_type(dtype):
    """In float16, 2,048 + 1 is 2,048."""
    labels = np.repeat([1, 0, 1, 0], [2500, 500, 1, 1999])
    predicted = np.repeat([1, 0], [3000, 2000])
    narrow = points_of(labels.astype(dtype), predicted.astype(dtype))
    assert narrow == points_of(labels, predicted)
    assert narrow["PR"] == (2500 / 2501, 2500 / 3000)
    assert ranking_measures(labels.astype(dtype), -np.arange(5000)) == ranking_measures(labels, -np.arange(5000))


def test_decisions_belong_to_cases_by_their_place_and_not_by_an_index():
    labels, predicted = pd.Series([1, 1, 0], index=[1, 2, 0]), pd.Series([1, 0, 0])
    assert points_of(labels, predicted) == points_of(labels.to_numpy(), predicted.to_numpy())


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_numbers_of_cases_of_a_narrow_type_do_not_overflow(dtype):
    assert expected_auprg_of_random_ranking(dtype(20), dtype(100)) == expected_auprg_of_random_ranking(20, 100)
    with pytest.raises(ValueError, match="n_pos must be a whole number of at least 1, got 0"):
        expected_auprg_of_random_ranking(0, 3)


@pytest.mark.parametrize(("n_pos", "n_neg"), [(1, 1), (3, 2), (2, 7)])
def test_the_all_positive_classifier_lies_where_each_plot_ends(n_pos, n_neg):
    points = points_of(np.repeat([1, 0], [n_pos, n_neg]), np.ones(n_pos + n_neg, int))
    assert points == {"ROC": (1, 1), "PR": (1, n_pos / (n_pos + n_neg)), "PR-Gain": (1, 0)}


def test_measures_of_a_perfect_ranking():
    """F1 rises to 1 along a line of precision 1; with Delta uniform the F1-gain is uniform from 1/2 to 1, and back."""
    measures = ranking_measures(np.repeat([1, 0], 50), -np.arange(100.0))
    assert [measures[name] for name in ("AUROC", "AUPR", "AUPRG", "best F1")] == [1, 1, 1, 1]
    gain = np.linspace(0.5, 1, 200_001)  # F1 = pi / (1 - (1 - pi) gain), half of the way up and half of it down
    assert measures["F1, Δ"] == pytest.approx(np.mean(0.5 / (1 - 0.5 * gain)), abs=1e-4)
    share = np.linspace(0, 1, 200_001)[1:]
    assert measures["F1, share"] == pytest.approx(np.mean(2 * np.minimum(share, 0.5) / (share + 0.5)), abs=1e-3)


def test_best_f1_is_that_of_some_threshold():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), rng.normal(size=60).round(1)
    pi = labels.mean()
    gains = [fbeta_gain_score(labels, (scores >= t).astype(int)) for t in np.unique(scores)]
    assert ranking_measures(labels, scores)["best F1"] == pytest.approx(pi / (1 - (1 - pi) * max(gains)))


def test_splits_are_judged_only_where_the_areas_disagree():
    columns = ["AUPR", "AUPRG", "best F1", "F1, Δ", "F1, share"]
    splits = {"x": [[1, 1, -1, -1, -1], [1, -1, -1, 1, 1], [-1, 1, 1, 1, -1]], "y": [[1, -1, 1, 1, 1]]}
    rows = {
        (name, k, classifier): np.array(signs) * (classifier == "AdaBoost")
        for name, of_name in splits.items()
        for k, signs in enumerate(of_name)
        for classifier in ("AdaBoost", "logistic regression")
    }
    index = pd.MultiIndex.from_tuples(rows, names=["data set", "split", "classifier"])
    table = pd.DataFrame(list(rows.values()), index=index, columns=columns)
    np.testing.assert_array_equal(advantage(table), [*splits["x"], *splits["y"]])
    judged = splits_judged_by_f1(table)
    assert judged.loc["x"].to_numpy().tolist() == [[2, 0], [1, 1], [0, 2]]
    assert judged.loc["y"].to_numpy().tolist() == [[0, 1]] * 3


@pytest.mark.parametrize(("n_pos", "n_neg"), [(1, 1), (2, 3), (3, 2), (1, 6), (4, 4), (3, 7)])
def test_the_mean_of_all_rankings_is_the_expected_area(n_pos, n_neg):
    n = n_pos + n_neg
    areas = [auprg_score(np.isin(range(n), positive), -np.arange(n)) for positive in combinations(range(n), n_pos)]
    assert expected_auprg_of_random_ranking(n_pos, n_neg) == pytest.approx(np.mean(areas), abs=1e-12)
