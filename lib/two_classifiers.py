"""Problem 2's experiment: AdaBoost and logistic regression on two data sets, on published splits and random ones.

What the pages of the problem share, so that each can be executed by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, confusion_matrix_at_thresholds, roc_auc_score
from sklearn.model_selection import ShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lib.arguments import whole_number
from lib.datasets import load_openml
from lib.precision_recall_gain import auprg_score, precision_recall_gain_curve

#: The class that counts as positive: a good credit risk, a positive test.
POSITIVE = {"credit-g": "good", "diabetes": "tested_positive"}

#: Training and test cases as in two published answers: credit-g as in A, diabetes as in B.
SPLIT = {
    "credit-g": {"test_size": 0.3, "random_state": 43},
    "diabetes": {"test_size": 0.33, "random_state": 42},
}

CLASSIFIERS = {
    "AdaBoost": AdaBoostClassifier(n_estimators=100, random_state=42),
    "logistic regression": LogisticRegression(max_iter=1000),
}

#: The three areas of part 2.3. AUPR is average precision, which joins no points by lines.
AREAS = {"AUROC": roc_auc_score, "AUPR": average_precision_score, "AUPRG": auprg_score}

TEST_SHARE = 0.33  # of the random splits


def load_cases(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Features of one of the two data sets, a row for each case, and the labels of the cases: 1 (positive) or 0."""
    features, label = load_openml(name)
    return features, (label == POSITIVE[name]).to_numpy(dtype=int)


def fit_and_score(
    features: pd.DataFrame, labels: np.ndarray, train: np.ndarray, test: np.ndarray, classifier: BaseEstimator
) -> np.ndarray:
    """Probabilities of the positive class for the test cases, after one-hot encoding and scaling of the features.

    `train` and `test` are numbers of rows. Encoder, scaler and a copy of the classifier see the training cases only.
    """
    kinds = make_column_selector(dtype_include="category")
    encoder = OneHotEncoder(handle_unknown="ignore")  # a kind that only test cases have becomes zeros
    columns = make_column_transformer((encoder, kinds), remainder=StandardScaler())
    model = make_pipeline(columns, clone(classifier)).fit(features.iloc[train], labels[train])
    return model.predict_proba(features.iloc[test])[:, 1]


def published_split(name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels of the test cases of the published split, and each classifier's scores of them."""
    features, labels = load_cases(name)
    train, test = train_test_split(np.arange(len(labels)), **SPLIT[name])
    return labels[test], _scores_of_both(features, labels, train, test)


def random_splits(name: str, n_splits: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """As :func:`published_split`, for each of so many random splits; the first ones are the same for any number."""
    features, labels = load_cases(name)
    splitter = ShuffleSplit(whole_number("n_splits", n_splits), test_size=TEST_SHARE, random_state=0)
    for train, test in splitter.split(features):
        yield labels[test], _scores_of_both(features, labels, train, test)


def _scores_of_both(features, labels, train, test):
    return {kind: fit_and_score(features, labels, train, test, each) for kind, each in CLASSIFIERS.items()}


def area_table(labels: np.ndarray, scores: dict[str, np.ndarray]) -> pd.DataFrame:
    """The three areas (rows) of each classifier (columns), and AdaBoost's minus logistic regression's."""
    table = pd.DataFrame({kind: {area: f(labels, s) for area, f in AREAS.items()} for kind, s in scores.items()})
    return table.assign(difference=table["AdaBoost"] - table["logistic regression"])


def points_of(labels: np.ndarray, predicted: np.ndarray) -> dict[str, tuple[float, float]]:
    """Where decisions (1 or 0 for each case) lie in each plot, from their counts alone.

    The axes are (FPR, TPR), (recall, precision) and (recall gain, precision gain); some positive case must be predicted
    positive.
    """
    positive, predicted = np.asarray(labels) == 1, np.asarray(predicted) == 1
    n_pos, n_neg, tp, fp = (np.sum(c) for c in (positive, ~positive, positive & predicted, ~positive & predicted))
    return {
        "ROC": (fp / n_neg, tp / n_pos),
        "PR": (tp / n_pos, tp / (tp + fp)),
        "PR-Gain": (1 - n_pos / n_neg * (n_pos - tp) / tp, 1 - n_pos / n_neg * fp / tp),
    }


def walk(labels: np.ndarray, scores: np.ndarray, n_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Recall gains and precision gains of points along the PR-Gain curve, from recall gain 0 to the all-positive point.

    Every side of the curve gets as many points, so corners are among them only if `n_points` is large.
    """
    precision_gain, recall_gain, _ = precision_recall_gain_curve(labels, scores)
    inside = recall_gain >= 0
    precision_gain, recall_gain = precision_gain[inside][::-1], recall_gain[inside][::-1]
    corners = np.arange(len(recall_gain))
    along = np.linspace(0, corners[-1], n_points)
    return np.interp(along, corners, recall_gain), np.interp(along, corners, precision_gain)


def ranking_measures(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The three areas of a ranking, and its F1 at the best threshold and averaged in two ways.

    "F1, Δ" is the mean of F1 where r_G - p_G is uniform along the PR-Gain curve (steps back count as negative), the
    choice of thresholds under which AUPRG is an expected F1-gain; "F1, share" that where the share of cases predicted
    positive is uniform.
    """
    _, fps, _, tps, _ = confusion_matrix_at_thresholds(labels, scores)
    n_pos, prevalence = tps[-1], np.mean(np.asarray(labels) == 1)
    predicted = np.linspace(0, len(labels), 1001)[1:]
    tp = np.interp(predicted, np.append(0, tps + fps), np.append(0, tps))
    recall_gain, precision_gain = walk(labels, scores, 20_001)
    f1_on_curve = prevalence / (1 - (1 - prevalence) * (precision_gain + recall_gain) / 2)  # F1 from its gain
    return {
        **{area: function(labels, scores) for area, function in AREAS.items()},
        "best F1": np.max(2 * tps / (tps + fps + n_pos)),
        "F1, Δ": np.trapezoid(f1_on_curve, recall_gain - precision_gain) / (1 + precision_gain[0]),
        "F1, share": np.mean(2 * tp / (predicted + n_pos)),
    }


def measure_splits(name: str, n_splits: int) -> pd.DataFrame:
    """The measures of both classifiers on random splits: a row for each ("data set", "split", "classifier")."""
    rows = {
        (name, split, classifier): ranking_measures(labels, scores)
        for split, (labels, both) in enumerate(random_splits(name, n_splits))
        for classifier, scores in both.items()
    }
    index = pd.MultiIndex.from_tuples(rows, names=["data set", "split", "classifier"])
    return pd.DataFrame(list(rows.values()), index=index)


def advantage(measures: pd.DataFrame) -> pd.DataFrame:
    """AdaBoost minus logistic regression in every measure, split by split, from the rows of :func:`measure_splits`."""
    return measures.xs("AdaBoost", level="classifier") - measures.xs("logistic regression", level="classifier")


def splits_judged_by_f1(measures: pd.DataFrame) -> pd.DataFrame:
    """Of the splits where AUPR and AUPRG name different winners: how often each names the one that F1 does.

    A row for each data set and each of the three ways to condense F1.
    """
    wins = advantage(measures) > 0
    disagree = wins[wins["AUPR"] != wins["AUPRG"]]
    right = disagree[["best F1", "F1, Δ", "F1, share"]].eq(disagree["AUPRG"], axis=0)
    judges = {"AUPRG right": right, "AUPR right": ~right}
    return pd.DataFrame({judge: each.groupby(level="data set").sum().stack() for judge, each in judges.items()})


def expected_auprg_of_random_ranking(n_pos: int, n_neg: int) -> float:
    """The exact mean of AUPRG over all orders of so many positive and negative cases without ties.

    Above the k-th positive, k n- / (n+ + 1) negatives are expected, and between positives the curve is straight.
    """
    n_pos, n_neg = whole_number("n_pos", n_pos), whole_number("n_neg", n_neg)
    crossing, expected = n_pos**2 / (n_pos + n_neg), 0.0
    for k in range(int(crossing), n_pos):
        tp = np.array([max(k, crossing), k + 1])
        recall_gain = 1 - n_pos / n_neg * (n_pos / tp - 1)
        precision_gain = 1 - n_pos * (k + 1) / ((n_pos + 1) * tp)
        expected += np.diff(recall_gain)[0] * precision_gain.mean()
    return float(expected)
