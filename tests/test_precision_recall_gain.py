"""Precision-Recall-Gain: exact fractions, the authors' own implementation, scikit-learn's conventions, and laws."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_classification
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    PrecisionRecallDisplay,
    auc,
    average_precision_score,
    f1_score,
    fbeta_score,
    precision_recall_curve,
    precision_score,
    recall_score,
)
from sklearn.model_selection import cross_validate
from sklearn.svm import LinearSVC

from lib.precision_recall_gain import (
    PrecisionRecallGainDisplay,
    auprg_score,
    f_calibrated_scores,
    fbeta_gain_score,
    harmonic_gain,
    precision_recall_gain_curve,
    precision_recall_gain_hull,
)

matplotlib.use("Agg")

Y_TRUE, Y_SCORE = [1, 1, 0, 0, 1, 0], [0.8, 0.8, 0.6, 0.4, 0.4, 0.2]
SCORE_FUNCTIONS = [precision_recall_gain_curve, auprg_score, precision_recall_gain_hull, f_calibrated_scores]


# The definitions in exact arithmetic, by brute force


def exact_counts(y_true, y_score, sample_weight=None):
    """(threshold, TP, FP) as fractions for each distinct score, from the highest; weight 0 does not count."""
    weight = [1] * len(y_true) if sample_weight is None else sample_weight
    samples = [(s, y, Fraction(w)) for y, s, w in zip(y_true, y_score, weight, strict=True) if w]
    return [
        (
            threshold,
            sum(w for s, y, w in samples if s >= threshold and y == 1),
            sum(w for s, y, w in samples if s >= threshold and y != 1),
        )
        for threshold in sorted({s for s, _, _ in samples}, reverse=True)
    ]


def exact_gains(tp, fp, n_pos, n_neg):
    """(recall gain, precision gain) by their definition on the harmonic scale."""
    prevalence = Fraction(n_pos) / (n_pos + n_neg)
    precision, recall = Fraction(tp) / (tp + fp), Fraction(tp) / n_pos
    return tuple((v - prevalence) / ((1 - prevalence) * v) for v in (recall, precision))


def exact_auprg(y_true, y_score, sample_weight=None):
    """The area: what lies at recall gain < 0 is cut off each piece, after interpolating its counts."""
    counts = [(None, Fraction(0), Fraction(0)), *exact_counts(y_true, y_score, sample_weight)]
    _, n_pos, n_neg = counts[-1]
    crossing = n_pos**2 / (n_pos + n_neg)
    area = Fraction(0)
    for (_, tp_0, fp_0), (_, tp_1, fp_1) in pairwise(counts):
        if tp_1 <= crossing:
            continue
        if tp_0 < crossing:
            share = (crossing - tp_0) / (tp_1 - tp_0)
            tp_0, fp_0 = crossing, fp_0 + share * (fp_1 - fp_0)
        (r_0, p_0), (r_1, p_1) = exact_gains(tp_0, fp_0, n_pos, n_neg), exact_gains(tp_1, fp_1, n_pos, n_neg)
        area += (r_1 - r_0) * (p_0 + p_1) / 2
    return area


def random_problem(rng, n_pos, n_neg, levels=None, separation=1.0):
    """Labels and scores in random order; `levels` distinct scores, or all different."""
    y_true = rng.permutation(np.repeat([1, 0], [n_pos, n_neg]))
    y_score = rng.normal(size=n_pos + n_neg) + separation * y_true
    if levels:
        y_score = np.digitize(y_score, np.quantile(y_score, np.linspace(0, 1, levels + 1)[1:-1])).astype(float)
    return y_true, y_score


def problems(max_samples=12, max_level=5):
    """Labels of both classes and integer scores, so with ties."""
    return (
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(-max_level, max_level)), min_size=2, max_size=max_samples
        ).filter(lambda samples: len({y for y, _ in samples}) == 2)
    ).map(lambda samples: tuple(np.array(column) for column in zip(*samples, strict=True)))


# Vectors


@pytest.mark.parametrize(("n_pos", "n_neg"), [(1, 1), (3, 4), (7, 2), (1, 1000), (997, 3), (333, 666)])
def test_equal_scores_have_auprg_exactly_zero(n_pos, n_neg):
    assert auprg_score([1] * n_pos + [0] * n_neg, [0.3] * (n_pos + n_neg)) == 0.0


@pytest.mark.parametrize(("n_pos", "n_neg"), [(1, 1), (3, 4), (7, 2), (1, 1000), (997, 3), (333, 666)])
def test_a_perfect_ranking_has_auprg_exactly_one(n_pos, n_neg):
    y_true = [1] * n_pos + [0] * n_neg
    assert auprg_score(y_true, -np.arange(n_pos + n_neg)) == 1.0
    assert auprg_score(y_true, y_true) == 1.0


def test_an_area_of_zero_has_no_sign():
    assert str(auprg_score([1, 0], [1, 1])) == "0.0"


def test_ties_within_and_between_classes():
    assert auprg_score(Y_TRUE, Y_SCORE) == pytest.approx(17 / 24, abs=1e-15)


def test_worst_ranking_of_four_negatives_and_three_positives():
    assert auprg_score([0] * 4 + [1] * 3, np.arange(7, 0, -1)) == pytest.approx(-2 / 3, abs=1e-15)


@pytest.mark.parametrize(("n_pos", "n_neg"), [(3, 4), (1, 1), (1, 100), (50, 2)])
def test_the_worst_ranking_has_minus_half_the_odds_of_a_negative(n_pos, n_neg):
    """FP = n- wherever TP > 0: from (0, -n- / n+) straight to (1, 0); there is no lower bound."""
    area = auprg_score([0] * n_neg + [1] * n_pos, -np.arange(n_pos + n_neg))
    assert area == pytest.approx(-n_neg / (2 * n_pos), rel=1e-14)


def test_always_positive_is_the_first_point_exactly():
    for n_pos, n_neg in product([1, 3, 7, 49], [1, 3, 7, 49]):
        y_true, y_score = random_problem(np.random.default_rng(n_pos), n_pos, n_neg)
        precision_gain, recall_gain, thresholds = precision_recall_gain_curve(y_true, y_score)
        assert (precision_gain[0], recall_gain[0], thresholds[0]) == (0.0, 1.0, y_score.min())


def test_imbalance_makes_a_poor_ranking_look_perfect():
    """10 positives in 1,000: average precision 0.3 goes with AUPRG 0.996."""
    ranks = np.array([1, 9, 14, 18, 22, 27, 31, 36, 40, 44])
    y_true = np.isin(np.arange(1, 1001), ranks).astype(int)
    y_score = -np.arange(1000)
    assert average_precision_score(y_true, y_score) == pytest.approx(0.3, abs=0.005)
    assert auprg_score(y_true, y_score) == pytest.approx(0.996, abs=0.0005)


# Exact fractions


@pytest.mark.parametrize("seed", range(60))
def test_curve_and_area_agree_with_exact_fractions(seed):
    rng = np.random.default_rng(seed)
    n_pos, n_neg = rng.integers(1, 15, size=2)
    y_true, y_score = random_problem(rng, n_pos, n_neg, levels=[None, 2, 4, 7][seed % 4], separation=rng.normal())
    weight = [None, rng.integers(1, 5, n_pos + n_neg), rng.uniform(0.1, 3, n_pos + n_neg)][seed % 3]
    counts = exact_counts(y_true, y_score, weight)
    _, total_pos, total_neg = counts[-1]
    expected = {float(s): exact_gains(tp, fp, total_pos, total_neg) for s, tp, fp in counts if tp > 0}
    precision_gain, recall_gain, thresholds = precision_recall_gain_curve(y_true, y_score, sample_weight=weight)
    inserted = ~np.isin(thresholds, y_score)
    np.testing.assert_array_equal(thresholds[~inserted], sorted(expected))
    found = np.column_stack([recall_gain, precision_gain])[~inserted]
    np.testing.assert_allclose(found, np.array([expected[s] for s in sorted(expected)], float), rtol=1e-13, atol=1e-13)
    assert inserted.sum() == (0 if 0 in [r for r, _ in expected.values()] else 1)
    assert auprg_score(y_true, y_score, sample_weight=weight) == pytest.approx(
        float(exact_auprg(y_true, y_score, weight)), rel=1e-13, abs=1e-13
    )


def test_area_of_every_small_problem_agrees_with_exact_fractions():
    """All labels and all weak orders of up to four samples."""
    checked = 0
    for n in range(2, 5):
        for y_true, y_score in product(product([0, 1], repeat=n), product(range(n), repeat=n)):
            if len(set(y_true)) == 2 and set(y_score) == set(range(max(y_score) + 1)):
                checked += 1
                found = auprg_score(y_true, y_score)
                assert found == pytest.approx(float(exact_auprg(y_true, y_score)), abs=1e-13), (y_true, y_score)
    assert checked == 3 * 2 + 13 * 6 + 75 * 14  # Fubini numbers times labels


def test_crossing_lies_where_counts_interpolate_to_recall_gain_zero():
    """TP 1 of 3, FP 1 of 5, then TP 3, FP 2: recall gain 0 at TP = 9/8, a sixteenth of the way, FP = 17/16."""
    y_true, y_score = [1, 0, 1, 1, 0, 0, 0, 0], [5, 4, 3, 3, 3, 2, 2, 1]
    precision_gain, recall_gain, thresholds = precision_recall_gain_curve(y_true, y_score)
    np.testing.assert_array_equal(thresholds, [1, 2, 3, 4 - 1 / 16, 4, 5])
    assert recall_gain[3] == 0.0
    assert precision_gain[3] == pytest.approx(1 - 3 / 5 * (17 / 16) / (9 / 8), abs=1e-15)


@pytest.mark.parametrize(("n_pos", "n_neg", "tp"), [(49, 294, 7), (42, 154, 9), (308, 84, 242)])
def test_a_threshold_exactly_at_recall_gain_zero_is_not_inserted_again(n_pos, n_neg, tp):
    """TP = n+^2 / n at the highest score; in two of the cases the gain rounds to 1e-16."""
    y_score = np.r_[np.full(tp, 2.0), np.ones(n_pos + n_neg - tp)]
    _, recall_gain, thresholds = precision_recall_gain_curve(np.repeat([1, 0], [n_pos, n_neg]), y_score)
    np.testing.assert_array_equal(recall_gain, [1, 0])
    np.testing.assert_array_equal(thresholds, [1, 2])


def test_thresholds_without_true_positives_are_left_out():
    precision_gain, recall_gain, thresholds = precision_recall_gain_curve([0, 0, 1, 0, 1], [5, 4, 3, 2, 1])
    np.testing.assert_array_equal(thresholds, [1, 2, 3, 3.2])
    assert np.isfinite(precision_gain).all()
    assert np.isfinite(recall_gain).all()


def test_choosing_at_random_between_two_thresholds_stays_on_the_line():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n_pos, n_neg, tp_0, fp_0 = (int(k) for k in rng.integers(1, 20, size=4))
        tp_1, fp_1 = tp_0 + int(rng.integers(1, 20)), fp_0 + int(rng.integers(0, 20))
        n_pos, n_neg, share = n_pos + tp_1, n_neg + fp_1, Fraction(int(rng.integers(1, 9)), 9)
        ends = [exact_gains(tp_0, fp_0, n_pos, n_neg), exact_gains(tp_1, fp_1, n_pos, n_neg)]
        recall_gain, precision_gain = exact_gains(
            tp_0 + share * (tp_1 - tp_0), fp_0 + share * (fp_1 - fp_0), n_pos, n_neg
        )
        along = (recall_gain - ends[0][0]) / (ends[1][0] - ends[0][0])
        assert precision_gain == ends[0][1] + along * (ends[1][1] - ends[0][1])


# The authors' implementation


@pytest.fixture
def pyprg(monkeypatch):
    """pyprg 0.1.1b7, for which np.alen, removed from NumPy, is put back."""
    monkeypatch.setattr(np, "alen", lambda a: len(a) if hasattr(a, "__len__") else 1, raising=False)
    from prg import prg

    return prg


@pytest.mark.parametrize("levels", [None, 3, 20])
@pytest.mark.parametrize(
    ("n_pos", "n_neg"), [(200, 200), (40, 400), (400, 40), (5, 500), (3, 3000), (1, 1000), (1000, 1), (1, 1)]
)
def test_area_and_curve_agree_with_pyprg(pyprg, n_pos, n_neg, levels):
    rng = np.random.default_rng(n_pos + 7 * n_neg)
    for separation in (-0.5, 0.0, 1.0, 3.0):
        y_true, y_score = random_problem(rng, n_pos, n_neg, levels, separation)
        theirs = pyprg.create_prg_curve(y_true, y_score)
        assert auprg_score(y_true, y_score) == pytest.approx(pyprg.calc_auprg(theirs), rel=1e-9, abs=1e-9)
        precision_gain, recall_gain, _ = precision_recall_gain_curve(y_true, y_score)
        # theirs has infinite gains at TP = 0, and extra points where the precision gain is 0
        kept = (theirs["TP"] > 0) & ~((theirs["is_crossing"] == 1) & (theirs["precision_gain"] == 0))
        at_zero = np.isclose(recall_gain, 0, atol=1e-12)
        mine = np.column_stack([recall_gain, precision_gain])[~at_zero]
        other = np.column_stack([theirs["recall_gain"], theirs["precision_gain"]])[kept]
        other = other[~np.isclose(other[:, 0], 0, atol=1e-12)]
        order = [np.lexsort(points.round(9).T[::-1]) for points in (mine, other)]
        np.testing.assert_allclose(mine[order[0]], other[order[1]], rtol=1e-9, atol=1e-9)


def test_pyprg_counts_labels_of_minus_one_as_negative_positives(pyprg):
    """Where pyprg is wrong: it sums labels before it turns -1 into 0. Fractions decide."""
    y_true, y_score = np.array([1, 1, -1, 1]), np.array([4.0, 3.0, 2.0, 1.0])
    exact = float(exact_auprg(y_true, y_score))
    assert auprg_score(y_true, y_score) == pytest.approx(exact, abs=1e-13)
    theirs = pyprg.calc_auprg(pyprg.create_prg_curve(y_true, y_score))
    assert not abs(theirs - exact) < 0.1
    assert pyprg.calc_auprg(pyprg.create_prg_curve((y_true + 1) // 2, y_score)) == pytest.approx(exact, abs=1e-9)


# Laws


TRANSFORMATIONS = {
    "shift and scale": lambda s: 3.5 * s - 100,
    "cube": lambda s: s**3,
    "exponential": np.exp,
    "arctan": np.arctan,
    "rank": lambda s: np.unique(s, return_inverse=True)[1],
    "subnormal": lambda s: s * 5e-324,
    "almost infinite": lambda s: s * 1e307,
}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
@given(problem=problems())
@settings(max_examples=30)
def test_strictly_increasing_transformations_of_the_score_change_no_gain(transformation, problem):
    y_true, y_score = problem
    found = precision_recall_gain_curve(y_true, transformation(y_score.astype(float)))
    expected = precision_recall_gain_curve(y_true, y_score)
    for k in range(2):
        np.testing.assert_array_equal(found[k], expected[k])


@given(problem=problems(20, 8))
@settings(max_examples=200)
def test_area_is_at_most_one_and_one_only_for_a_perfect_ranking(problem):
    y_true, y_score = problem
    area = auprg_score(y_true, y_score)
    assert area <= 1
    assert (area == 1) == (y_score[y_true == 1].min() > y_score[y_true == 0].max())


@given(problem=problems(), level=st.floats(allow_nan=False, allow_infinity=False), data=st.data())
@settings(max_examples=60)
def test_equal_scores_have_area_zero_and_labels_as_scores_area_one(problem, level, data):
    y_true, _ = problem
    weight = data.draw(st.lists(st.floats(0.01, 100), min_size=len(y_true), max_size=len(y_true)))
    assert auprg_score(y_true, np.full(len(y_true), level), sample_weight=weight) == 0
    assert auprg_score(y_true, y_true, sample_weight=weight) == 1


@given(problem=problems(), data=st.data())
@settings(max_examples=100)
def test_integer_weights_are_repetitions(problem, data):
    y_true, y_score = problem
    weight = np.array(data.draw(st.lists(st.integers(0, 4), min_size=len(y_true), max_size=len(y_true))))
    assume(len(set(y_true[weight > 0])) == 2)
    for function in SCORE_FUNCTIONS[:3]:
        weighted = function(y_true, y_score, sample_weight=weight)
        repeated = function(np.repeat(y_true, weight), np.repeat(y_score, weight))
        for found, expected in zip(np.atleast_1d(weighted), np.atleast_1d(repeated), strict=True):
            np.testing.assert_array_equal(found, expected)
    weighted = f_calibrated_scores(y_true, y_score, sample_weight=weight)
    repeated = f_calibrated_scores(np.repeat(y_true, weight), np.repeat(y_score, weight))
    np.testing.assert_array_equal(np.repeat(weighted, weight), repeated)


@given(problem=problems(), data=st.data())
@settings(max_examples=60)
def test_order_of_the_samples_does_not_matter(problem, data):
    y_true, y_score = problem
    order = data.draw(st.permutations(range(len(y_true))))
    weight = np.array(data.draw(st.lists(st.floats(0.1, 10), min_size=len(y_true), max_size=len(y_true))))
    for k, expected in enumerate(precision_recall_gain_curve(y_true, y_score)):
        np.testing.assert_array_equal(precision_recall_gain_curve(y_true[order], y_score[order])[k], expected)
    expected = auprg_score(y_true, y_score, sample_weight=weight)
    found = auprg_score(y_true[order], y_score[order], sample_weight=weight[order])
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-11)
    np.testing.assert_allclose(
        f_calibrated_scores(y_true[order], y_score[order], sample_weight=weight[order]),
        f_calibrated_scores(y_true, y_score, sample_weight=weight)[order],
        rtol=1e-11,
    )


@given(problem=problems(), factor=st.floats(1e-200, 1e200), data=st.data())
@settings(max_examples=60)
def test_scaling_all_weights_changes_nothing(problem, factor, data):
    y_true, y_score = problem
    weight = np.array(data.draw(st.lists(st.floats(0.1, 10), min_size=len(y_true), max_size=len(y_true))))
    expected = auprg_score(y_true, y_score, sample_weight=weight)
    assert auprg_score(y_true, y_score, sample_weight=factor * weight) == pytest.approx(expected, rel=1e-11, abs=1e-11)
    found = f_calibrated_scores(y_true, y_score, sample_weight=factor * weight)
    np.testing.assert_allclose(found, f_calibrated_scores(y_true, y_score, sample_weight=weight), rtol=1e-11)


@given(problem=problems())
@settings(max_examples=60)
def test_pos_label_names_the_class_that_counts(problem):
    y_true, y_score = problem
    expected = precision_recall_gain_curve(1 - y_true, y_score)
    names = np.array(["bad", "good"])[y_true]
    for labels, pos_label in ((y_true, 0), (names, "bad"), (2 * y_true - 1, -1), (y_true.astype(bool), False)):
        for k in range(3):
            np.testing.assert_array_equal(
                precision_recall_gain_curve(labels, y_score, pos_label=pos_label)[k], expected[k]
            )
    assert auprg_score(names, y_score, pos_label="bad") == auprg_score(y_true, y_score, pos_label=0)
    assert auprg_score(2 * y_true - 1, y_score) == auprg_score(y_true, y_score)


@given(problem=problems(40, 20))
@settings(max_examples=100)
def test_dropping_intermediate_points_keeps_the_curve(problem):
    y_true, y_score = problem
    precision_gain, recall_gain, thresholds = precision_recall_gain_curve(y_true, y_score)
    fewer = precision_recall_gain_curve(y_true, y_score, drop_intermediate=True)
    assert np.isin(
        np.column_stack(fewer)[fewer[1] != 0], np.column_stack([precision_gain, recall_gain, thresholds])
    ).all()
    assert auc(fewer[1][fewer[1] >= 0], fewer[0][fewer[1] >= 0]) == pytest.approx(
        auprg_score(y_true, y_score), abs=1e-12
    )


def test_dropping_intermediate_points_drops_those_with_equal_neighbours():
    y_true = [1, 1, 1, 1, 0, 0, 0, 0]
    _, recall_gain, thresholds = precision_recall_gain_curve(y_true, np.arange(8, 0, -1), drop_intermediate=True)
    np.testing.assert_array_equal(thresholds, [1, 5, 7, 8])  # 7 is inserted again, at recall gain 0
    np.testing.assert_array_equal(recall_gain, [1, 1, 0, -2])


def test_curve_is_ordered_as_documented():
    y_true, y_score = random_problem(np.random.default_rng(3), 300, 700, levels=50)
    precision_gain, recall_gain, thresholds = precision_recall_gain_curve(y_true, y_score)
    assert precision_gain.shape == recall_gain.shape == thresholds.shape
    assert np.all(np.diff(thresholds) > 0)
    assert np.all(np.diff(recall_gain) <= 0)
    assert np.all(precision_gain <= 1)
    assert np.sum(recall_gain == 0) == 1


def test_many_weights_that_are_not_integers_stay_accurate():
    rng = np.random.default_rng(5)
    y_true, y_score = random_problem(rng, 30_000, 270_000, levels=1000)
    whole, tenth = rng.integers(1, 10, size=300_000), 0.1
    expected = auprg_score(y_true, y_score, sample_weight=whole)
    assert auprg_score(y_true, y_score, sample_weight=whole * tenth) == pytest.approx(expected, abs=1e-12)


# What scikit-learn's metrics accept, refuse and say


INPUTS = {
    "lists": (Y_TRUE, Y_SCORE),
    "tuples": (tuple(Y_TRUE), tuple(Y_SCORE)),
    "arrays": (np.array(Y_TRUE), np.array(Y_SCORE)),
    "columns": (np.array(Y_TRUE)[:, None], np.array(Y_SCORE)[:, None]),
    "booleans": (np.array(Y_TRUE, bool), np.array(Y_SCORE)),
    "floats": (np.array(Y_TRUE, float), np.array(Y_SCORE)),
    "minus one": (2 * np.array(Y_TRUE) - 1, np.array(Y_SCORE)),
    "float32": (np.array(Y_TRUE, np.int8), np.array(Y_SCORE, np.float32)),
    "integers": (Y_TRUE, np.array([8, 8, 6, 4, 4, 2])),
    "unsigned": (Y_TRUE, np.array([8, 8, 6, 4, 4, 2], np.uint8)),
    "Series": (pd.Series(Y_TRUE, index=list("uvwxyz")), pd.Series(Y_SCORE, index=range(6, 0, -1))),
    "frames": (pd.DataFrame({"y": Y_TRUE}), pd.DataFrame({"s": Y_SCORE})),
    "nullable": (pd.Series(Y_TRUE, dtype="Int64"), pd.Series(Y_SCORE, dtype="Float64")),
    "not contiguous": (np.repeat(Y_TRUE, 2)[::2], np.repeat(Y_SCORE, 3)[::3]),
}


@pytest.mark.parametrize("y_true, y_score", INPUTS.values(), ids=INPUTS)
def test_every_kind_of_array_is_taken(y_true, y_score):
    assert auprg_score(y_true, y_score) == pytest.approx(17 / 24, abs=1e-15)
    assert len(precision_recall_gain_hull(y_true, y_score)[0]) == 4
    assert f_calibrated_scores(y_true, y_score).shape == (6,)


@pytest.mark.parametrize("dtype", [object, "str", "category"])
def test_string_labels_are_taken_with_pos_label(dtype):
    y_true = pd.Series(["good" if y else "bad" for y in Y_TRUE], dtype=dtype)
    for labels in (y_true, y_true.tolist()):
        assert auprg_score(labels, Y_SCORE, pos_label="good") == pytest.approx(17 / 24, abs=1e-15)
        assert fbeta_gain_score(labels, labels, pos_label="good") == 1


# Numbers of every type, in float64


def in_float64(y_true, y_score, weight):
    """Area and gains where every number is a float64 already."""
    scores = np.unique([float(s) for s in y_score], return_inverse=True)[1]
    weight = None if weight is None else [float(w) for w in weight]
    return precision_recall_gain_curve(y_true, scores, sample_weight=weight)[:2]


NARROW = [np.float16, np.float32, np.int8, np.uint8, bool]


@pytest.mark.parametrize("dtype", NARROW)
def test_weights_are_summed_in_float64(dtype):
    """4,096 + 1 is 4,096 in float16, and 100 + 100 is -56 in int8."""
    rng = np.random.default_rng(0)
    y_true, y_score = random_problem(rng, 3_000, 6_000, levels=40)
    weight = rng.integers(1, 101, 9_000).astype(dtype)
    found = precision_recall_gain_curve(y_true, y_score, sample_weight=weight)[:2]
    np.testing.assert_allclose(found, in_float64(y_true, y_score, weight), rtol=1e-12, atol=1e-12)
    expected = fbeta_gain_score(y_true, y_score > 20, sample_weight=weight.astype(float))
    assert fbeta_gain_score(y_true, y_score > 20, sample_weight=weight) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(
        f_calibrated_scores(y_true, y_score, sample_weight=weight),
        f_calibrated_scores(y_true, y_score, sample_weight=weight.astype(float)),
        rtol=1e-12,
    )


def test_f_gain_of_reported_half_precision_weights():
    """As in scikit-learn's issues 6842 and 13010: TP = 400, FP = 200, FN = 0 in float16 gave 1.0."""
    y_true, y_pred = np.tile([0, 1], 400), np.tile([0, 1, 1, 1], 200)
    assert fbeta_gain_score(y_true, y_pred, sample_weight=np.ones(800, np.float16)) == pytest.approx(0.75)


@pytest.mark.parametrize("scale", [1e308, 1.7e308, 1e-300, 5e-324, 2.0**62])
def test_no_sum_of_huge_or_tiny_weights_overflows(scale):
    weight = np.full(6, scale)
    assert auprg_score(Y_TRUE, Y_SCORE, sample_weight=weight) == pytest.approx(17 / 24, rel=1e-14)
    assert fbeta_gain_score(Y_TRUE, [1] * 6, sample_weight=weight) == 0.5
    np.testing.assert_allclose(
        f_calibrated_scores(Y_TRUE, Y_SCORE, sample_weight=weight), f_calibrated_scores(Y_TRUE, Y_SCORE), rtol=1e-14
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint64, bool])
def test_thresholds_increase_and_are_float64(dtype):
    """The inserted threshold lies between neighbours that are next to each other in float16 and float32."""
    if np.issubdtype(dtype, np.floating):
        below, above = dtype(1), np.nextafter(dtype(1), dtype(2))
        y_true, y_score = [1, 1, 1, 0, 0, 0, 0], np.array([above, below, below, below, below, below, 0], dtype)
        if dtype != np.float64:  # between neighbours of float64 there is no number
            thresholds = precision_recall_gain_curve(y_true, y_score)[2]
            assert np.all(np.diff(thresholds) > 0)
            assert np.isclose(thresholds, 1, atol=1e-2).sum() == 3
    y_true, y_score = [0, 1, 0, 1, 1], np.array([0, 0, 1, 1, 1]).astype(dtype)
    thresholds = precision_recall_gain_curve(y_true, y_score)[2]
    assert thresholds.dtype == np.float64
    assert np.all(np.diff(thresholds) > 0)


@pytest.mark.parametrize("base", [2**53, 2**60, 2**62])
@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_large_integers_are_told_apart_or_refused(base, dtype):
    y_true, ranks = [0, 1, 0, 1, 1, 0], np.array([0, 1, 2, 3, 4, 5])
    y_score = base + ranks.astype(dtype)
    assert auprg_score(y_true, y_score) == auprg_score(y_true, ranks)
    np.testing.assert_array_equal(f_calibrated_scores(y_true, y_score), f_calibrated_scores(y_true, ranks))
    for function in (precision_recall_gain_curve, precision_recall_gain_hull):  # their thresholds are float64
        with pytest.raises(ValueError, match="y_score holds numbers that float64 cannot tell apart"):
            function(y_true, y_score)
    with pytest.raises(ValueError, match="y_score holds numbers that float64 cannot tell apart"):
        auprg_score(y_true, [2**70 + int(k) for k in ranks])  # Python's integers have any size


@pytest.mark.parametrize("beta", [np.float16(300), np.int8(100), np.float32(1e30), 1e200, np.inf])
def test_beta_is_squared_in_float64_and_may_be_huge(beta):
    y_true, y_pred = [1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0]
    squared = Fraction(float(beta)) ** 2 if beta < np.inf else Fraction(10) ** 400
    recall_gain, precision_gain = exact_gains(2, 1, 3, 4)
    expected = (precision_gain + squared * recall_gain) / (1 + squared)
    assert fbeta_gain_score(y_true, y_pred, beta=beta) == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
def test_gains_of_values_of_any_type_are_float64(dtype):
    found = harmonic_gain(np.array([0.25, 0.375, 0.5], dtype), dtype(0.125))
    np.testing.assert_array_equal(found, [4 / 7, 16 / 21, 6 / 7])


@pytest.mark.parametrize("dispatch", [False, True])
def test_tensors_give_numpy_results_with_and_without_array_api_dispatch(dispatch):
    code = f"""
import numpy as np, sklearn, torch
from lib.precision_recall_gain import *
from lib.precision_recall_gain import PrecisionRecallGainDisplay
y, s, w = [1, 1, 0, 0, 1, 0], [8, 8, 6, 4, 4, 2], [1, 2, 1, 3, 1, 1]
with sklearn.config_context(array_api_dispatch={dispatch}):
    for labels in (torch.tensor(y), torch.tensor(y, dtype=torch.bool), y):
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.int16):
            scores, weight = torch.tensor(s, dtype=dtype), torch.tensor(w, dtype=dtype)
            if dtype.is_floating_point:
                scores.requires_grad_()
            found = precision_recall_gain_curve(labels, scores, sample_weight=weight)
            for ours, expected in zip(found, precision_recall_gain_curve(y, s, sample_weight=w)):
                assert type(ours) is np.ndarray
                np.testing.assert_array_equal(ours, expected)
            assert auprg_score(labels, scores) == auprg_score(y, s)
            assert fbeta_gain_score(labels, torch.tensor(y), sample_weight=weight) == 1
            np.testing.assert_array_equal(f_calibrated_scores(labels, scores), f_calibrated_scores(y, s))
            np.testing.assert_array_equal(harmonic_gain(torch.tensor([0.5, 1.0]), 0.25), [2 / 3, 1])
    display = PrecisionRecallGainDisplay.from_predictions(torch.tensor(y), torch.tensor(s))
    assert display.auprg == auprg_score(y, s)
"""
    environment = dict(os.environ, SCIPY_ARRAY_API="1", MPLBACKEND="Agg")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr


def test_arguments_are_not_changed():
    y_true, y_score, weight = np.array(Y_TRUE), np.array(Y_SCORE), np.arange(1.0, 7.0)
    for array in (y_true, y_score, weight):
        array.flags.writeable = False
    for function in SCORE_FUNCTIONS:
        function(y_true, y_score, sample_weight=weight)


def test_one_class_against_the_rest_as_scikit_learn_does():
    y_true, y_score = [0, 2, 1, 2, 0], [1, 2, 3, 4, 5]
    expected = auprg_score([0, 1, 0, 1, 0], y_score)
    assert auprg_score(y_true, y_score, pos_label=2) == expected


BAD = {
    "NaN score": ([0, 1], [0.1, np.nan], {}),
    "infinite score": ([0, 1], [0.1, np.inf], {}),
    "NaN label": ([0, 1, np.nan], [1, 2, 3], {}),
    "lengths": ([0, 1, 1], [0.1, 0.2], {}),
    "no scores": ([0, 1], [], {}),
    "three labels": ([0, 1, 2], [1, 2, 3], {}),
    "labels without pos_label": (["a", "b"], [1, 2], {}),
    "numbers without pos_label": ([1, 2], [1, 2], {}),
    "continuous labels": ([0.1, 0.9], [1, 2], {}),
    "multilabel": ([[0, 1], [1, 1]], [1, 2], {}),
    "scores of two classes": ([0, 1], [[0.1, 0.9], [0.4, 0.6]], {}),
    "complex scores": ([0, 1], [1j, 2j], {}),
    "labels are no array": (3, [1, 2], {}),
    "scores are no array": ([0, 1], "ab", {}),
    "pos_label is a list": ([0, 1], [1, 2], {"pos_label": [1]}),
    "weights' length": ([0, 1], [1, 2], {"sample_weight": [1, 2, 3]}),
    "weights are a number": ([0, 1], [1, 2], {"sample_weight": 3}),
    "NaN weight": ([0, 1], [1, 2], {"sample_weight": [1, np.nan]}),
    "all weights zero": ([0, 1], [1, 2], {"sample_weight": [0, 0]}),
    "weights in a table": ([0, 1], [1, 2], {"sample_weight": [[1, 1], [1, 1]]}),
}


NAMED = {"label": "y_true", "score": "y_score", "weight": "sample_weight", "pos_label": "pos_label"}


@pytest.mark.parametrize("function", SCORE_FUNCTIONS)
@pytest.mark.parametrize("case", BAD)
def test_what_precision_recall_curve_refuses_is_refused_by_the_name_of_the_argument(function, case):
    y_true, y_score, options = BAD[case]
    with pytest.raises((ValueError, TypeError)) as theirs:
        precision_recall_curve(y_true, y_score, **options)
    with pytest.raises((ValueError, TypeError)) as ours:
        function(y_true, y_score, **options)
    named = [argument for word, argument in NAMED.items() if word in case]
    assert any(argument in str(ours.value) for argument in named) or str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("function", SCORE_FUNCTIONS)
@pytest.mark.parametrize(
    ("y_true", "options", "message"),
    [
        ([1, 1, 1], {}, r"y_true has no samples of the negative class \(pos_label=1\)"),
        ([0, 0, 0], {}, r"y_true has no samples of the positive class \(pos_label=1\)"),
        (["a", "b", "a"], {"pos_label": "c"}, r"no samples of the positive class \(pos_label='c'\)"),
        ([0, 1, 0], {"sample_weight": [1, 0, 1]}, "no samples of the positive class .* weight above zero"),
        ([0, 1, 1], {"sample_weight": [0, 1, 1]}, "no samples of the negative class .* weight above zero"),
        ([0, 1, 1], {"sample_weight": [1, -1, 1]}, "Negative values in data passed to `sample_weight`"),
    ],
)
def test_undefined_gains_are_refused_with_the_way_out(function, y_true, options, message):
    with pytest.raises(ValueError, match=message) as error:
        function(y_true, [0.1, 0.2, 0.3], **options)
    if "class" in message:
        assert "Give samples of both classes, or correct pos_label or sample_weight" in str(error.value)


@pytest.mark.parametrize("function", SCORE_FUNCTIONS)
@pytest.mark.parametrize("empty", [[], (), np.array([]), pd.Series([], dtype=int)], ids=lambda e: type(e).__name__)
def test_no_samples_are_refused(function, empty):
    with pytest.raises(ValueError, match="y_true is empty: give samples of both classes"):
        function(empty, empty)


@pytest.mark.parametrize("function", SCORE_FUNCTIONS)
@pytest.mark.parametrize("masked", ["y_true", "y_score", "sample_weight"])
def test_masked_values_are_refused_and_not_counted(function, masked):
    given = {"y_true": [0, 1, 0, 1], "y_score": [1, 4, 3, 2], "sample_weight": [1, 2, 1, 2]}
    function(**given | {masked: np.ma.array(given[masked])})
    with pytest.raises(ValueError, match=f"{masked} has masked values"):
        function(**given | {masked: np.ma.array(given[masked], mask=[0, 0, 1, 0])})


def test_masked_values_are_refused_elsewhere_too():
    masked = np.ma.array([1, 0, 1], mask=[0, 0, 1])
    with pytest.raises(ValueError, match="y_pred has masked values"):
        fbeta_gain_score([1, 0, 1], masked)
    with pytest.raises(ValueError, match="value has masked values"):
        harmonic_gain(masked, 0.3)
    with pytest.raises(ValueError, match="new_score has masked values"):
        f_calibrated_scores([1, 0, 1], [3, 1, 2], new_score=masked)


@pytest.mark.parametrize("missing", [np.nan, None], ids=repr)
@pytest.mark.parametrize("kind", [list, tuple, lambda labels: np.array(labels, dtype=object), pd.Series])
@pytest.mark.parametrize("n_missing", [1, 2])
def test_missing_labels_among_strings_are_refused_and_not_taken_for_a_class(kind, missing, n_missing):
    """In an array of strings NaN is "nan", which counted as one more negative."""
    labels = kind(["good", "bad", "bad", "good"][n_missing:] + [missing] * n_missing)
    for function in SCORE_FUNCTIONS:
        with pytest.raises(ValueError, match=r"y_true has missing values|contains NaN"):
            function(labels, [4, 3, 2, 1], pos_label="good")
    with pytest.raises(ValueError, match=r"y_true has missing values|contains NaN"):
        fbeta_gain_score(labels, ["good", "bad", "good", "good"], pos_label="good")
    with pytest.raises(ValueError, match=r"y_pred has missing values|contains NaN"):
        fbeta_gain_score(["good", "bad", "good", "good"], labels, pos_label="good")


@pytest.mark.parametrize("argument", ["y_score", "sample_weight"])
def test_missing_numbers_among_objects_are_refused_by_name(argument):
    given = {"y_score": [1, 4, 3], "sample_weight": [1, 2, 1]} | {argument: [1, None, 2]}
    for function in SCORE_FUNCTIONS:
        with pytest.raises(ValueError, match=f"{argument} has missing values"):
            function([0, 1, 0], **given)


@pytest.mark.parametrize("word", ["no", "False", 0, None])
def test_what_is_neither_true_nor_false_drops_no_points(word):
    with pytest.raises(ValueError, match="drop_intermediate must be True or False, got "):
        precision_recall_gain_curve([0, 1], [1, 2], drop_intermediate=word)


@pytest.mark.parametrize("function", SCORE_FUNCTIONS)
def test_arguments_are_those_of_scikit_learn(function):
    theirs = inspect.signature(precision_recall_curve).parameters
    ours = inspect.signature(function).parameters
    extra = {"f_calibrated_scores": {"new_score"}}.get(function.__name__, set())
    lacking = set() if function is precision_recall_gain_curve else {"drop_intermediate"}
    assert [name for name in ours if name not in extra] == [name for name in theirs if name not in lacking]
    for name in ours.keys() & theirs.keys():
        assert (ours[name].kind, ours[name].default) == (theirs[name].kind, theirs[name].default)


# The convex hull and F-calibrated scores


def vertices(y_true, y_score, sample_weight=None):
    """The hull without the point that is inserted at recall gain 0: threshold, recall gain, precision gain.

    The threshold of an inserted point can be a score by chance, but its gains are not those of that score.
    """
    points = np.column_stack(precision_recall_gain_hull(y_true, y_score, sample_weight=sample_weight)[::-1])
    curve = precision_recall_gain_curve(y_true, y_score, sample_weight=sample_weight)
    attained = set(map(tuple, np.column_stack(curve[::-1])[np.isin(curve[2], y_score)].round(9)))
    return points[[tuple(point) in attained for point in points.round(9)]]


@pytest.mark.parametrize("seed", range(30))
def test_hull_agrees_with_pyprg_on_exact_points(pyprg, seed):
    """pyprg's hull also has a lower left end, and leaves out always-positive: between them both agree."""
    rng = np.random.default_rng(seed)
    n_pos, n_neg = (int(n) for n in rng.integers(1, 30, size=2))
    y_true, y_score = random_problem(rng, n_pos, n_neg, levels=[None, 6][seed % 2], separation=rng.uniform(-1, 3))
    points = [exact_gains(tp, fp, n_pos, n_neg) for _, tp, fp in exact_counts(y_true, y_score) if tp > 0]
    hull = pyprg.convex_hull(points)
    peak = max(hull, key=lambda point: (point[1], point[0]))
    expected = np.array([point for point in hull if point[0] > peak[0] or point == peak], float)
    found = vertices(y_true, y_score)[:, 1:]
    if len(found) > len(expected):
        np.testing.assert_array_equal(found[0], [1, 0])
        found = found[1:]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(problem=problems(30, 15))
@settings(max_examples=100)
def test_hull_is_concave_and_above_the_curve(problem):
    y_true, y_score = problem
    hull_precision, hull_recall, _ = precision_recall_gain_hull(y_true, y_score)
    slopes = np.diff(hull_precision[::-1])[np.diff(hull_recall[::-1]) > 0]
    slopes = slopes / np.diff(hull_recall[::-1])[np.diff(hull_recall[::-1]) > 0]
    assert np.all(np.diff(slopes) <= 1e-12)
    assert np.all(slopes <= 1e-12)
    precision_gain, recall_gain, _ = precision_recall_gain_curve(y_true, y_score)
    highest = np.interp(recall_gain, hull_recall[::-1], np.maximum.accumulate(hull_precision)[::-1])
    inside = recall_gain < 1
    assert np.all(precision_gain[inside] <= highest[inside] + 1e-12)
    assert hull_recall[0] == 1
    assert hull_precision[0] == 0
    assert np.sum(hull_recall == 0) == 1
    inside = hull_recall >= 0
    assert auprg_score(y_true, y_score) <= auc(hull_recall[inside], hull_precision[inside]) + 1e-12


@given(problem=problems(30, 15))
@settings(max_examples=100)
def test_hull_vertices_are_those_of_isotonic_regression(problem):
    """The pools of probabilities calibrated by isotonic regression end at the vertices: ROC and PR-Gain share them."""
    y_true, y_score = problem
    probability = IsotonicRegression().fit_transform(y_score, y_true)
    lowest = [y_score[np.isclose(probability, p, atol=1e-9)].min() for p in np.unique(probability.round(9))]
    np.testing.assert_array_equal(vertices(y_true, y_score)[:, 0], np.unique(lowest))


BETAS = [Fraction(0), *(Fraction(k, 7) ** 3 for k in range(1, 30))]


@given(problem=problems(20, 10), data=st.data())
@settings(max_examples=100)
def test_thresholding_f_calibrated_scores_maximises_every_f_beta(problem, data):
    """Brute force over all thresholds, in fractions; F_beta = (1 + b) TP / (TP + FP + b n+) with b = beta^2."""
    y_true, y_score = problem
    weight = np.array(data.draw(st.lists(st.integers(1, 5), min_size=len(y_true), max_size=len(y_true))))
    calibrated = f_calibrated_scores(y_true, y_score, sample_weight=weight)
    counts = exact_counts(y_true, y_score, weight.tolist())
    n_pos = counts[-1][1]
    for beta_squared in BETAS:
        best = max((1 + beta_squared) * tp / (tp + fp + beta_squared * n_pos) for _, tp, fp in counts)
        predicted = calibrated >= float(1 / (1 + beta_squared))
        tp, fp = (int(weight[predicted & (y_true == label)].sum()) for label in (1, 0))
        assert (1 + beta_squared) * tp / (tp + fp + beta_squared * n_pos) == best


def test_every_hull_vertex_maximises_some_f_beta_and_no_other_threshold_alone_does():
    rng = np.random.default_rng(11)
    for _ in range(8):
        y_true, y_score = random_problem(rng, 8, 12)
        counts = exact_counts(y_true, y_score)
        optimal = set()
        for beta_squared in [Fraction(k, 50) ** 4 for k in range(1, 400)]:
            f_beta = {s: (1 + beta_squared) * tp / (tp + fp + 8 * beta_squared) for s, tp, fp in counts}
            best = [s for s in f_beta if f_beta[s] == max(f_beta.values())]
            optimal |= set(best) if len(best) == 1 else set()
        assert optimal <= set(vertices(y_true, y_score)[:, 0])
        assert len(set(vertices(y_true, y_score)[:, 0]) - optimal) <= 1  # optimal for huge beta only, if at all


@given(problem=problems(30, 15), data=st.data())
@settings(max_examples=100)
def test_calibrated_probability_is_f_calibrated_score_times_the_best_f_beta(problem, data):
    """A segment pays for beta if its precision exceeds F* / (1 + beta^2), so its probability is d F*."""
    y_true, y_score = problem
    weight = np.array(data.draw(st.lists(st.integers(1, 5), min_size=len(y_true), max_size=len(y_true))))
    probability = IsotonicRegression().fit(y_score, y_true, sample_weight=weight).predict(y_score)
    calibrated = f_calibrated_scores(y_true, y_score, sample_weight=weight)
    np.testing.assert_array_equal(calibrated == 0, probability == 0)
    for d, p in set(zip(calibrated[calibrated > 0], probability[calibrated > 0], strict=True)):
        best = fbeta_score(y_true, calibrated >= d, beta=np.sqrt(1 / d - 1), sample_weight=weight)
        assert p == pytest.approx(d * best, rel=1e-9)


@given(problem=problems(30, 15))
@settings(max_examples=100)
def test_f_calibrated_scores_come_from_the_slopes_of_the_hull(problem):
    y_true, y_score = problem
    thresholds, recall_gain, precision_gain = vertices(y_true, y_score).T
    calibrated = f_calibrated_scores(y_true, y_score, new_score=thresholds)
    with np.errstate(divide="ignore"):
        slopes = np.diff(precision_gain) / np.diff(recall_gain)
    np.testing.assert_allclose(calibrated[:-1], 1 / (1 - slopes), rtol=1e-9, atol=1e-12)
    assert calibrated[-1] == 1
    assert np.all(np.diff(calibrated) > 0)
    order = np.argsort(y_score)
    assert np.all(np.diff(f_calibrated_scores(y_true, y_score)[order]) >= 0)


def test_new_scores_belong_to_the_threshold_that_they_reach():
    y_true, y_score = [0, 1, 0, 0, 1, 1], [1, 2, 3, 4, 5, 6]
    new_score = [-9, 1, 1.5, 2, 4.9, 5, 9]
    np.testing.assert_allclose(
        f_calibrated_scores(y_true, y_score, new_score=new_score), [0, 0, 0, 3 / 7, 3 / 7, 1, 1], rtol=1e-15
    )
    np.testing.assert_array_equal(
        f_calibrated_scores(y_true, y_score), f_calibrated_scores(y_true, y_score, new_score=y_score)
    )
    for bad, message in (([np.nan], "Input new_score contains NaN"), ([[1, 2]], "1d array"), (3, "'new_score'")):
        with pytest.raises(ValueError, match=message):
            f_calibrated_scores(y_true, y_score, new_score=bad)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_new_scores_of_another_type_are_compared_exactly(dtype):
    """As float64, 2^60 and 2^60 + 1 are the same."""
    y_true, y_score = [0, 1, 1], np.array([2**60, 2**60 + 1, 2**60 + 256])
    new_score = np.array([2**60, 2**60 + 256, 2**61]).astype(dtype)
    np.testing.assert_array_equal(f_calibrated_scores(y_true, y_score, new_score=new_score), [0, 1, 1])
    thresholds = np.array([0.5, 2.0**60 + 256])
    new_score = np.array([2**60 + 200, 2**60 + 256, 2**61]).astype(dtype)
    expected = [0 if int(score) < 2**60 + 256 else 1 for score in new_score]
    np.testing.assert_array_equal(f_calibrated_scores([0, 1], thresholds, new_score=new_score), expected)


def test_points_on_a_straight_line_are_no_vertices_however_they_round():
    """Pools of one positive in three, of different sizes, whose means need not round alike."""
    sizes = [1, 3, 7, 11, 49, 2, 5]
    y_true = np.concatenate([np.repeat([1, 0], [k, 2 * k]) for k in sizes])
    y_score = np.repeat(np.arange(len(sizes)), 3 * np.array(sizes))
    for weight in (None, np.full(len(y_true), 0.1)):
        assert len(vertices(y_true, y_score, sample_weight=weight)) == 1 or weight is not None
        assert np.ptp(f_calibrated_scores(y_true, y_score, sample_weight=weight)) < 1e-12


def test_a_weight_that_is_lost_beside_a_huge_one_adds_no_segment():
    """1e17 + 1 is 1e17, so the third score adds nothing to the counts."""
    calibrated = f_calibrated_scores([1, 0, 0, 1], [4, 3, 2, 1], sample_weight=[1, 1e17, 1, 1])
    assert calibrated[0] == 1
    np.testing.assert_allclose(calibrated[1:], 2e-17 / (1 + 2e-17), rtol=1e-9)


# F-gain


@given(
    confusion=st.tuples(*[st.integers(0, 9)] * 4).filter(lambda c: c[0] > 0 and c[1] + c[3] > 0),
    beta=st.floats(0, 50),
)
@settings(max_examples=100)
def test_gain_of_f_beta_is_the_weighted_mean_of_the_gains(confusion, beta):
    tp, fp, fn, tn = confusion
    y_true, y_pred = np.repeat([1, 0, 1, 0], confusion), np.repeat([1, 1, 0, 0], confusion)
    recall_gain, precision_gain = (float(gain) for gain in exact_gains(tp, fp, tp + fn, fp + tn))
    expected = (precision_gain + beta**2 * recall_gain) / (1 + beta**2)
    assert fbeta_gain_score(y_true, y_pred, beta=beta) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    gain = harmonic_gain(fbeta_score(y_true, y_pred, beta=beta), (tp + fn) / len(y_true))
    assert gain == pytest.approx(expected, rel=1e-11, abs=1e-11)


def test_f_gain_ends_at_precision_gain_and_recall_gain():
    y_true, y_pred = [1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0]
    assert fbeta_gain_score(y_true, y_pred, beta=0) == pytest.approx(
        harmonic_gain(precision_score(y_true, y_pred), 3 / 7)
    )
    assert fbeta_gain_score(y_true, y_pred, beta=np.inf) == pytest.approx(
        harmonic_gain(recall_score(y_true, y_pred), 3 / 7)
    )
    assert fbeta_gain_score(y_true, y_pred) == pytest.approx(harmonic_gain(f1_score(y_true, y_pred), 3 / 7))


@pytest.mark.parametrize(("n_pos", "n_neg"), [(1, 1), (3, 4), (1, 999)])
def test_always_positive_has_f1_gain_one_half(n_pos, n_neg):
    y_true = np.repeat([1, 0], [n_pos, n_neg])
    assert fbeta_gain_score(y_true, np.ones(n_pos + n_neg, int)) == 0.5
    assert fbeta_gain_score(y_true, np.ones(n_pos + n_neg, int), beta=0) == 0
    assert fbeta_gain_score(y_true, y_true) == 1


def test_f_gain_without_true_positives_is_minus_infinity():
    assert fbeta_gain_score([1, 0, 0], [0, 1, 0]) == -np.inf
    assert harmonic_gain(0.0, 0.5) == -np.inf
    for beta in (0, 1, np.inf):
        assert fbeta_gain_score([1, 0, 0], [0, 0, 0], beta=beta) == -np.inf


@given(problem=problems(), data=st.data())
@settings(max_examples=50)
def test_f_gain_counts_integer_weights_as_repetitions(problem, data):
    y_true, y_score = problem
    y_pred = (y_score > 0).astype(int)
    weight = np.array(data.draw(st.lists(st.integers(0, 4), min_size=len(y_true), max_size=len(y_true))))
    assume(len(set(y_true[weight > 0])) == 2)
    repeated = fbeta_gain_score(np.repeat(y_true, weight), np.repeat(y_pred, weight), beta=2)
    assert fbeta_gain_score(y_true, y_pred, beta=2, sample_weight=weight) == repeated


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 1], [1, 0]), {}, "no samples of the negative class"),
        (([0, 0], [1, 0]), {}, "no samples of the positive class"),
        (([0, 1], [1, 0]), {"beta": -1}, "'beta' parameter of fbeta_gain_score"),
        (([0, 1], [1, 0]), {"beta": np.nan}, "'beta' parameter of fbeta_gain_score"),
        (([0, 1], [1, 0]), {"pos_label": [1]}, "pos_label must be a number, a string, a bool or None, got [1]"),
        (([], []), {}, "y_true is empty"),
        (([0, 1], [1, 0]), {"pos_label": 2}, "pos_label=2 is not a valid label"),
        (([0, 1, 2], [1, 0, 1]), {}, "Target is multiclass but average='binary'"),
        (([0, 1], [1, 0, 1]), {}, "inconsistent numbers of samples"),
        (([0, 1], [1, 0]), {"sample_weight": [1, -1]}, "Negative values in data passed to `sample_weight`"),
    ],
)
def test_f_gain_refuses_what_fbeta_score_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fbeta_gain_score(*arguments, **options)


@pytest.mark.parametrize(
    ("value", "prevalence", "message"),
    [
        (1.1, 0.5, "value must be in"),
        (-0.1, 0.5, "value must be in"),
        (np.nan, 0.5, "value has missing or infinite values"),
        (0.5 + 0j, 0.5, "value must hold real numbers"),
        (np.array([0, 1], "m8[D]"), 0.5, "value must hold real numbers"),
        (0.5, 0.0, "prevalence must lie between 0 and 1"),
        (0.5, 1.0, "prevalence must lie between 0 and 1"),
        (0.5, np.nan, "prevalence must lie between 0 and 1"),
    ],
)
def test_harmonic_gain_refuses_values_out_of_range(value, prevalence, message):
    with pytest.raises(ValueError, match=message):
        harmonic_gain(value, prevalence)


# The display


@pytest.fixture
def figures():
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    X, y = make_classification(300, weights=[0.7], flip_y=0.2, random_state=0)
    return X, y, LogisticRegression().fit(X, y)


DEPRECATED = {"estimator_name", "y_pred", "kwargs"}
ADDED = {"plot_f_gain_isometrics", "f_gain_beta", "f_gain_isometrics_kw", "f_gain_isometrics_kwargs"}
RENAMED = {
    "precision": "precision_gain",
    "recall": "recall_gain",
    "average_precision": "auprg",
    "prevalence_pos_label": None,  # the chance level is precision gain 0, whatever the prevalence
}


@pytest.mark.parametrize("method", ["__init__", "plot"])
def test_display_has_the_parameters_of_precision_recall_display(method):
    theirs = inspect.signature(getattr(PrecisionRecallDisplay, method)).parameters
    ours = inspect.signature(getattr(PrecisionRecallGainDisplay, method)).parameters
    expected = [RENAMED.get(name, name) for name in theirs if name not in DEPRECATED]
    assert [name for name in ours if name not in ADDED] == [name for name in expected if name]
    for name in ours.keys() & theirs.keys():
        assert (ours[name].kind, ours[name].default) == (theirs[name].kind, theirs[name].default), name


def test_display_refuses_an_option_that_it_does_not_have(data, figures):
    X, y, model = data
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        PrecisionRecallGainDisplay.from_estimator(model, X, y, colour="red")


def test_display_has_the_public_names_of_precision_recall_display(data, figures):
    X, y, model = data
    theirs = PrecisionRecallDisplay.from_estimator(model, X, y, plot_chance_level=True)
    ours = PrecisionRecallGainDisplay.from_estimator(model, X, y, plot_chance_level=True)
    expected = {RENAMED.get(name, name) for name in vars(theirs)} - {None}
    assert set(vars(ours)) == expected | {"f_gain_isometrics_"}
    assert {n for n in dir(ours) if n[0] != "_"} - set(vars(ours)) == {n for n in dir(theirs) if n[0] != "_"} - set(
        vars(theirs)
    )


def test_display_shows_the_curve_and_its_area(data, figures):
    X, y, model = data
    y_score = model.predict_proba(X)[:, 1]
    for display in (
        PrecisionRecallGainDisplay.from_estimator(model, X, y),
        PrecisionRecallGainDisplay.from_predictions(y, y_score, name="LogisticRegression"),
        PrecisionRecallGainDisplay(
            *precision_recall_gain_curve(y, y_score)[:2],
            auprg=auprg_score(y, y_score),
            name="LogisticRegression",
            pos_label=1,
        ).plot(),
    ):
        precision_gain, recall_gain, _ = precision_recall_gain_curve(y, y_score)
        np.testing.assert_array_equal(display.line_.get_xydata(), np.column_stack([recall_gain, precision_gain]))
        assert display.line_.get_drawstyle() == "default"
        assert display.auprg == auprg_score(y, y_score)
        assert display.line_.get_label() == f"LogisticRegression (AUPRG = {auprg_score(y, y_score):.2f})"
        assert display.ax_.get_xlabel() == "Recall gain (Positive label: 1)"
        assert display.ax_.get_ylabel() == "Precision gain (Positive label: 1)"
        assert display.ax_.get_xlim() == display.ax_.get_ylim() == (-0.01, 1.01)
        assert display.ax_.get_aspect() == 1
        assert display.figure_ is display.ax_.figure
        assert display.chance_level_ is display.f_gain_isometrics_ is None


def test_display_draws_on_the_given_axes_with_the_given_style(figures):
    _, ax = figures.subplots()
    display = PrecisionRecallGainDisplay.from_predictions(
        Y_TRUE,
        Y_SCORE,
        ax=ax,
        name="forest",
        curve_kwargs={"c": "red", "ls": ":"},
        plot_chance_level=True,
        chance_level_kw={"lw": 3, "label": "coin"},
        despine=True,
    )
    assert display.ax_ is ax
    assert (display.line_.get_color(), display.line_.get_linestyle()) == ("red", ":")
    np.testing.assert_array_equal(display.chance_level_.get_ydata(), [0, 0])
    assert display.chance_level_.get_linewidth() == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["forest (AUPRG = 0.71)", "coin"]
    assert not ax.spines["top"].get_visible()
    again = display.plot(name="tree", ax=ax)
    assert again is display
    assert display.line_.get_label() == "tree (AUPRG = 0.71)"


def test_display_takes_string_labels_weights_and_pipelines(data, figures):
    X, y, _ = data
    labels, weight = np.array(["no", "yes"])[y], np.arange(len(y)) % 3
    model = LinearSVC().fit(X, labels)
    display = PrecisionRecallGainDisplay.from_estimator(model, X, labels, sample_weight=weight, pos_label="no")
    expected = auprg_score(labels, -model.decision_function(X), pos_label="no", sample_weight=weight)
    assert display.auprg == expected
    assert display.pos_label == "no"
    assert display.line_.get_label() == f"LinearSVC (AUPRG = {expected:.2f})"


def test_display_of_cross_validation_has_a_curve_for_each_fold(data, figures):
    X, y, _ = data
    weight = np.arange(len(y)) % 3
    folds = cross_validate(LogisticRegression(), X, y, cv=3, return_estimator=True, return_indices=True)
    display = PrecisionRecallGainDisplay.from_cv_results(folds, X, y, sample_weight=weight, plot_chance_level=True)
    assert len(display.line_) == len(display.auprg) == 3
    for area, model, test in zip(display.auprg, folds["estimator"], folds["indices"]["test"], strict=True):
        expected = auprg_score(y[test], model.predict_proba(X[test])[:, 1], sample_weight=weight[test])
        assert area == pytest.approx(expected, abs=1e-12)
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == [
        f"AUPRG = {np.mean(display.auprg):.2f} +/- {np.std(display.auprg):.2f}",
        "Chance level (AUPRG = 0.00)",
    ]
    named = PrecisionRecallGainDisplay.from_cv_results(
        folds, X, y, name=["a", "b", "c"], curve_kwargs=[{"color": c} for c in "rgb"]
    )
    assert [line.get_color() for line in named.line_] == list("rgb")
    assert [line.get_label()[:1] for line in named.line_] == list("abc")


OPTIONS = {
    "ax": object(),
    "curve_kwargs": {"color": "red"},
    "plot_chance_level": True,
    "chance_level_kw": {"color": "green"},
    "plot_f_gain_isometrics": True,
    "f_gain_beta": 3.0,
    "f_gain_isometrics_kw": {"color": "blue"},
    "despine": True,
}


@pytest.mark.parametrize("drop_intermediate", [True, False])
@pytest.mark.parametrize("method", ["from_estimator", "from_predictions", "from_cv_results"])
def test_every_option_reaches_the_curve_and_the_plot(monkeypatch, data, method, drop_intermediate):
    X, y, _ = data
    labels = np.array(["no", "yes"])[y]
    folds = cross_validate(LogisticRegression(), X, labels, cv=2, return_estimator=True, return_indices=True)
    model, test = folds["estimator"][0], folds["indices"]["test"][0]
    y_score = model.decision_function(X[test])
    monkeypatch.setattr(PrecisionRecallGainDisplay, "plot", lambda self, **options: (self, options))
    options = dict(OPTIONS, name="a name", drop_intermediate=drop_intermediate, pos_label="yes")
    if method == "from_predictions":
        display, passed = PrecisionRecallGainDisplay.from_predictions(labels[test], y_score, **options)
    else:
        options.update(response_method="decision_function", pos_label="no")
        y_score = -y_score
        if method == "from_estimator":
            display, passed = PrecisionRecallGainDisplay.from_estimator(model, X[test], labels[test], **options)
        else:
            renamed = {"chance_level_kw": "chance_level_kwargs", "f_gain_isometrics_kw": "f_gain_isometrics_kwargs"}
            display, passed = PrecisionRecallGainDisplay.from_cv_results(
                folds, X, labels, **{renamed.get(name, name): value for name, value in options.items()}
            )
            display.precision_gain, display.recall_gain = display.precision_gain[0], display.recall_gain[0]
    assert {name: passed[name] for name in OPTIONS} == OPTIONS
    assert (display.name, display.pos_label) == ("a name", options["pos_label"])
    expected = precision_recall_gain_curve(
        labels[test], y_score, pos_label=options["pos_label"], drop_intermediate=drop_intermediate
    )
    np.testing.assert_array_equal(display.precision_gain, expected[0])
    np.testing.assert_array_equal(display.recall_gain, expected[1])


@pytest.mark.parametrize("beta", [0.5, 1, 2])
def test_isometrics_are_lines_of_equal_f_gain(figures, beta):
    display = PrecisionRecallGainDisplay.from_predictions(
        Y_TRUE, Y_SCORE, plot_f_gain_isometrics=True, f_gain_beta=beta, f_gain_isometrics_kw={"c": "blue"}
    )
    assert [line.get_color() for line in display.f_gain_isometrics_] == ["blue"] * 3
    for line, level in zip(display.f_gain_isometrics_, [0.25, 0.5, 0.75], strict=True):
        recall_gain, precision_gain = line.get_data()
        np.testing.assert_allclose((precision_gain + beta**2 * recall_gain) / (1 + beta**2), level)
    for text, level in zip(display.ax_.texts, [0.25, 0.5, 0.75], strict=True):
        recall_gain, precision_gain = text.xy
        assert 0 < recall_gain < 1
        assert 0 < precision_gain < 1
        assert (precision_gain + beta**2 * recall_gain) / (1 + beta**2) == pytest.approx(level)
        assert text.get_text() == f"$F_{{G,{beta:g}}}$ = {level:g}"
    assert [handle.get_text() for handle in display.ax_.get_legend().get_texts()] == ["Classifier (AUPRG = 0.71)"]


@pytest.mark.parametrize("beta", [0, -1, np.inf, np.nan, "1"])
def test_isometrics_need_a_positive_finite_beta(figures, beta):
    with pytest.raises(ValueError, match="f_gain_beta must be a finite number above 0, got"):
        PrecisionRecallGainDisplay.from_predictions(Y_TRUE, Y_SCORE, plot_f_gain_isometrics=True, f_gain_beta=beta)


@pytest.mark.parametrize(
    "call",
    [
        lambda display, X, y, model: display.from_predictions([0, 1, 2], [1, 2, 3]),
        lambda display, X, y, model: display.from_predictions(["a", "b"], [1, 2]),
        lambda display, X, y, model: display.from_predictions([0, 1], [1, 2, 3]),
        lambda display, X, y, model: display.from_estimator(LogisticRegression(), X, y),
        lambda display, X, y, model: display.from_estimator(model, X, y, pos_label=7),
        lambda display, X, y, model: display.from_estimator(model, X, y, response_method="decision"),
        lambda display, X, y, model: display.from_cv_results({}, X, y),
        lambda display, X, y, model: display(np.ones(2), np.ones(2)).plot(curve_kwargs=[{}, {}]),
        lambda display, X, y, model: display([np.ones(2)] * 2, [np.ones(2)] * 2, name=["a", "b"]).plot(),
        lambda display, X, y, model: display.from_predictions([0, 1], [1, 2], curve_kwargs={"c": "r", "color": "b"}),
    ],
)
def test_display_refuses_bad_input_in_the_words_of_precision_recall_display(call, data, figures):
    with pytest.raises((ValueError, TypeError, AttributeError)) as theirs:
        call(PrecisionRecallDisplay, *data)
    with pytest.raises(type(theirs.value)) as ours:
        call(PrecisionRecallGainDisplay, *data)
    assert str(ours.value) == str(theirs.value)


def test_display_names_the_lists_whose_lengths_differ(figures):
    with pytest.raises(ValueError, match=r"self\.precision_gain: 2, self\.recall_gain: 1, self\.auprg: 3") as error:
        PrecisionRecallGainDisplay([[1, 0], [1, 0]], [[0, 1]], auprg=[0.1, 0.2, 0.3]).plot()
    assert "PrecisionRecallGainDisplay" in str(error.value)


def test_metrics_import_neither_matplotlib_nor_torch_and_the_display_says_what_it_needs():
    code = """
import sys
sys.modules["matplotlib"] = None
from lib.precision_recall_gain import auprg_score
assert auprg_score([0, 1], [1, 2]) == 1
assert not {"torch", "openml", "plotly", "lib.notebook"} & set(sys.modules)
assert "lib.precision_recall_gain_display" not in sys.modules
from lib.precision_recall_gain import PrecisionRecallGainDisplay
try:
    PrecisionRecallGainDisplay.from_predictions([0, 1], [1, 2])
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("PrecisionRecallGainDisplay.from_predictions requires matplotlib")


def test_metrics_need_none_of_the_private_names_of_scikit_learn():
    """A release that renames them costs the display only."""
    code = """
import sklearn.metrics
import sklearn.utils._plotting as private
del private._BinaryClassifierCurveDisplayMixin, private._validate_style_kwargs, private._check_param_lengths
from lib.precision_recall_gain import auprg_score, fbeta_gain_score
assert auprg_score([0, 1], [1, 2]) == fbeta_gain_score([0, 1], [0, 1]) == 1
try:
    from lib.precision_recall_gain import PrecisionRecallGainDisplay
except ImportError:
    print("no display")
"""
    metrics = Path(inspect.getsourcefile(precision_recall_gain_curve)).read_text(encoding="utf-8")
    assert re.findall(r"(?m)^from sklearn\S* import .*\b_\w+|^from sklearn\S*\._.*", metrics) == []
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "no display\n"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'lib\.precision_recall_gain' has no attribute 'nothing'"):
        importlib.import_module("lib.precision_recall_gain").nothing  # noqa: B018
