"""Precision-Recall-Gain curves, the area under them, their convex hull, F-gain and F-calibrated scores.

Precision and recall are averaged harmonically by the F-measure, and an always-positive classifier already has precision
equal to the prevalence pi of the positive class. On the *gain* scale of Flach and Kull, *Precision-Recall-Gain Curves:
PR Analysis Done Right* (NIPS 2015), a value v in (0, 1] becomes (v - pi) / ((1 - pi) v): 1 stays 1, pi becomes 0, and
harmonic means become arithmetic means. In counts, with n+ positive and n- negative samples,

    precision gain = 1 - (n+ / n-) FP / TP        recall gain = 1 - (n+ / n-) FN / TP

and the gain of F_beta is (precision gain + beta^2 recall gain) / (1 + beta^2). Both gains are linear functions of 1 / TP
along any straight line of counts, so straight lines between points of the curve are what randomising between two
thresholds achieves, and the area is a sum of trapezoids.

Names, arguments, order of results and error messages follow :mod:`sklearn.metrics`.
"""

from __future__ import annotations

from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import auc, confusion_matrix_at_thresholds, fbeta_score
from sklearn.utils import _safe_indexing, check_array, column_or_1d
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils._plotting import (
    _BinaryClassifierCurveDisplayMixin,
    _check_param_lengths,
    _convert_to_list_leaving_none,
    _despine,
    _validate_style_kwargs,
)
from sklearn.utils._response import _get_response_values_binary
from sklearn.utils.validation import check_non_negative

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

_SCORE_PARAMETERS = {
    "y_true": ["array-like"],
    "y_score": ["array-like"],
    "pos_label": [Real, str, "boolean", None],
    "sample_weight": ["array-like", None],
}


@validate_params({**_SCORE_PARAMETERS, "drop_intermediate": ["boolean"]}, prefer_skip_nested_validation=True)
def precision_recall_gain_curve(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    pos_label: float | bool | str | None = None,
    sample_weight: ArrayLike | None = None,
    drop_intermediate: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute precision-gain and recall-gain pairs for different thresholds."""
    fps, tps, thresholds = _counts(y_true, y_score, pos_label, sample_weight)
    if drop_intermediate and len(tps) > 2:
        same_tps, same_fps = np.diff(tps) == 0, np.diff(fps) == 0
        between = (same_tps[:-1] & same_tps[1:]) | (same_fps[:-1] & same_fps[1:])
        keep = np.concatenate(([True], ~between, [True]))
        fps, tps, thresholds = fps[keep], tps[keep], thresholds[keep]
    return _curve(fps, tps, thresholds)


@validate_params(_SCORE_PARAMETERS, prefer_skip_nested_validation=True)
def auprg_score(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    pos_label: float | bool | str | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the area under the Precision-Recall-Gain curve, over recall gain from 0 to 1."""
    precision_gain, recall_gain, _ = precision_recall_gain_curve(
        y_true, y_score, pos_label=pos_label, sample_weight=sample_weight
    )
    return _area(precision_gain, recall_gain)


def _counts(y_true, y_score, pos_label, sample_weight):
    """False and true positives at decreasing thresholds; both classes are there."""
    _, fps, _, tps, thresholds = confusion_matrix_at_thresholds(
        y_true, y_score, pos_label=pos_label, sample_weight=sample_weight
    )
    if sample_weight is not None:
        check_non_negative(column_or_1d(sample_weight), "`sample_weight`")
    _check_both_classes(tps[-1], fps[-1], pos_label)
    return fps, tps, thresholds


def _check_both_classes(n_pos, n_neg, pos_label):
    for kind, count in (("positive", n_pos), ("negative", n_neg)):
        if not count > 0:
            raise ValueError(
                f"y_true has no {kind} samples (pos_label={1 if pos_label is None else pos_label!r}), so gains are "
                "undefined: they compare with the prevalence of the positive class, which must lie between 0 and 1. "
                "Give samples of both classes, with weights above zero, or correct pos_label."
            )


def _curve(fps, tps, thresholds):
    """Gains at decreasing thresholds with TP > 0, the crossing inserted; returned at increasing thresholds."""
    n_pos, n_neg = tps[-1], fps[-1]
    start = int(np.searchsorted(tps, 0, side="right"))
    some_tps, some_fps = tps[start:], fps[start:]
    recall_gain = n_pos - some_tps
    recall_gain /= some_tps
    recall_gain *= n_pos / n_neg
    np.subtract(1, recall_gain, out=recall_gain)
    precision_gain = some_fps / n_neg
    precision_gain /= some_tps / n_pos
    np.subtract(1, precision_gain, out=precision_gain)

    rounding = 4 * np.finfo(float).eps
    first, after = np.searchsorted(recall_gain, [-rounding, rounding])
    recall_gain[first:after] = 0.0
    crossing = [np.empty(0)] * 3
    if first == after:
        crossing = _crossing(fps, tps, thresholds, start + first)
    return tuple(
        np.concatenate((values[first:][::-1], point, values[:first][::-1]))
        for values, point in zip((precision_gain, recall_gain, thresholds[start:]), crossing, strict=True)
    )


def _crossing(fps, tps, thresholds, index):
    """The point at recall gain 0 between a threshold and the one above it, by interpolating counts linearly."""
    n_pos, n_neg, tp, fp = (Fraction(float(count)) for count in (tps[-1], fps[-1], tps[index], fps[index]))
    tp_above, fp_above, threshold_above = 0, 0, np.inf
    if index > 0:
        tp_above, fp_above = Fraction(float(tps[index - 1])), Fraction(float(fps[index - 1]))
        threshold_above = thresholds[index - 1]
    crossing_tp = n_pos**2 / (n_pos + n_neg)
    share = (crossing_tp - tp_above) / (tp - tp_above)
    crossing_fp = fp_above + share * (fp - fp_above)
    precision_gain = 1 - n_pos * crossing_fp / (n_neg * crossing_tp)
    threshold = float(share) * thresholds[index] + float(1 - share) * threshold_above
    dtype = thresholds.dtype if thresholds.dtype.kind == "f" else float
    return [float(precision_gain)], [0.0], np.asarray([threshold], dtype=dtype)


def _area(precision_gain, recall_gain):
    inside = recall_gain >= 0
    return 1.0 - auc(recall_gain[inside], 1 - precision_gain[inside])
