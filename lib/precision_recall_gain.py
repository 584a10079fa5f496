"""Precision-Recall-Gain curves, the area under them, their convex hull, F-gain and F-calibrated scores.

The F-measure is a harmonic mean of precision and recall, and predicting positive always already has the precision pi,
the prevalence of the positive class. On the *gain* scale of Flach and Kull, "Precision-Recall-Gain Curves: PR Analysis
Done Right" (NIPS 2015), a value v in (0, 1] becomes (v - pi) / ((1 - pi) v): 1 stays 1, pi becomes 0, and a harmonic
mean becomes an arithmetic mean. In counts, with n+ positive and n- negative samples,

    precision gain = 1 - (n+ / n-) FP / TP        recall gain = 1 - (n+ / n-) FN / TP

and the gain of F_beta is (precision gain + beta^2 recall gain) / (1 + beta^2). Along a straight line of counts both
gains are linear in 1 / TP. So the straight line between two points of the curve shows the expected counts of choosing
at random between two thresholds, and the area is a sum of trapezoids.

Names, arguments and the order of results follow :mod:`sklearn.metrics`. Counts, weights and gains are float64 or exact
whatever the type of scores and weights, and results are NumPy's also for tensors.
"""

from __future__ import annotations

from fractions import Fraction
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import fbeta_score
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.multiclass import type_of_target

from lib.arguments import ArgumentError, check_unmasked, finite_numbers, on_cpu, yes_or_no

Label = float | bool | str  # of the positive class


def __getattr__(name: str):
    # the display on first use: it alone needs Matplotlib and what scikit-learn keeps private
    if name == "PrecisionRecallGainDisplay":
        from lib.precision_recall_gain_display import PrecisionRecallGainDisplay

        return PrecisionRecallGainDisplay
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def precision_recall_gain_curve(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    pos_label: Label | None = None,
    sample_weight: ArrayLike | None = None,
    drop_intermediate: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute precision gain and recall gain at every threshold.

    There is a point for each distinct score at which some sample is a true positive: from predicting positive always,
    at precision gain 0 and recall gain 1, to the highest thresholds, where the recall gain can be below 0. The point at
    recall gain 0, where TP = n+^2 / n, bounds the area. If no threshold attains it, it is inserted, by interpolating
    counts linearly; above the highest threshold there are no positive predictions.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True binary labels.
    y_score : array-like of shape (n_samples,)
        Target scores: estimated probabilities of the positive class, or decision values.
    pos_label : int, float, bool or str, default=None
        The label of the positive class. By default 1, if `y_true` is in {-1, 1} or {0, 1}; otherwise an error.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights, zero or more. A sample of weight 2 counts as two samples, one of weight 0 not at all.
    drop_intermediate : bool, default=False
        Whether to drop points between two others with the same TP or the same FP: they lie on the line between those.

    Returns
    -------
    precision_gain : ndarray of shape (n_points,)
        Element i is the precision gain of predictions with score >= thresholds[i]; at most 1. The first is 0.
    recall_gain : ndarray of shape (n_points,)
        The recall gain of the same predictions, decreasing from 1. At least one is exactly 0.
    thresholds : ndarray of shape (n_points,)
        Increasing, in float64. That of an inserted point lies between its neighbours' in the proportion of the counts
        (where float64 has nothing between them, it repeats the lower one); above the highest score it is ``inf``.

    Raises
    ------
    ValueError
        If labels, scores or weights are not one-dimensional, not as many as each other or not finite; if one of the
        classes has no samples, so that gains are undefined; if a weight is negative; if scores differ only beyond the
        digits of float64 (large integers).

    Examples
    --------
    >>> y_true, y_score = [1, 1, 0, 0, 1, 0], [0.8, 0.8, 0.6, 0.4, 0.4, 0.2]
    >>> precision_gain, recall_gain, thresholds = precision_recall_gain_curve(y_true, y_score)
    >>> precision_gain.round(3)
    array([0.   , 0.333, 0.5  , 1.   , 1.   ])
    >>> recall_gain
    array([1. , 1. , 0.5, 0.5, 0. ])
    >>> thresholds
    array([0.2, 0.4, 0.6, 0.8, inf])
    """
    fps, tps, thresholds = _counts(y_true, y_score, pos_label, sample_weight)
    if yes_or_no("drop_intermediate", drop_intermediate):
        same_fps, same_tps = np.diff(fps) == 0, np.diff(tps) == 0
        between = (same_fps[:-1] & same_fps[1:]) | (same_tps[:-1] & same_tps[1:])
        keep = np.ones(len(tps), dtype=bool)
        keep[1:-1] = ~between
        fps, tps, thresholds = fps[keep], tps[keep], thresholds[keep]
    return _curve(fps, tps, _as_float64("y_score", thresholds))


def auprg_score(
    y_true: ArrayLike, y_score: ArrayLike, *, pos_label: Label | None = None, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the area under the Precision-Recall-Gain curve, over recall gains from 0 to 1.

    Arguments and errors are those of :func:`precision_recall_gain_curve`, but scores may be integers of any size. The
    area is at most 1, that of a perfect ranking. Equal scores for all samples have 0, and a ranking that is worse can
    have any negative value. Strictly increasing functions of the scores do not change it.

    Examples
    --------
    >>> auprg_score([1, 1, 0, 0, 1, 0], [0.8, 0.8, 0.6, 0.4, 0.4, 0.2])  # 17/24
    0.70833...
    """
    fps, tps, thresholds = _counts(y_true, y_score, pos_label, sample_weight)
    precision_gain, recall_gain, _ = _curve(fps, tps, np.zeros(len(thresholds)))  # an area needs no thresholds
    return area_of_gains(precision_gain, recall_gain)


def area_of_gains(precision_gain: np.ndarray, recall_gain: np.ndarray) -> float:
    """The area under a curve as :func:`precision_recall_gain_curve` returns it, over recall gains from 0 to 1."""
    inside = recall_gain >= 0
    return float(0 - np.trapezoid(precision_gain[inside], recall_gain[inside]))  # 0 - 0 is not -0


def precision_recall_gain_hull(
    y_true: ArrayLike, y_score: ArrayLike, *, pos_label: Label | None = None, sample_weight: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the upper right convex hull of the Precision-Recall-Gain curve.

    Arguments, results and errors are as for :func:`precision_recall_gain_curve`, but there are points for vertices
    only: the thresholds that maximise F_beta for some beta, from the always-positive classifier to the highest
    precision (beta = 0). Left of that the hull is horizontal, as leaving out a random part of those predictions keeps
    their precision. The point at recall gain 0 is inserted between vertices: its threshold can be a score, but
    predictions there have other gains.

    The map from ROC space, with axes FP and TP, to gains is projective, and so keeps straight lines and convexity: the
    vertices are those of the ROC convex hull without its origin.

    Examples
    --------
    >>> precision_gain, recall_gain, thresholds = precision_recall_gain_hull([0, 1, 0, 0, 1, 1], [1, 2, 3, 4, 5, 6])
    >>> precision_gain.round(3)
    array([0.   , 0.333, 1.   , 1.   ])
    >>> recall_gain
    array([1. , 1. , 0.5, 0. ])
    >>> thresholds
    array([ 1.,  2.,  5., inf])
    """
    fps, tps, thresholds = _hull_counts(*_counts(y_true, y_score, pos_label, sample_weight))
    return _curve(fps, tps, _as_float64("y_score", thresholds))


def f_calibrated_scores(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    pos_label: Label | None = None,
    sample_weight: ArrayLike | None = None,
    new_score: ArrayLike | None = None,
) -> np.ndarray:
    """Map scores so that predicting positive at 1 / (1 + beta^2) or above maximises F_beta, for every beta >= 0.

    On the data that the map is computed from it is exact. It is a step function: a segment of the hull with slope
    -beta^2 becomes 1 / (1 + beta^2). In counts, with TP and FP at the upper end of a segment and dTP and dFP along it,
    all over n+, this is dTP / (dTP + TP dFP - FP dTP).

    Parameters
    ----------
    y_true, y_score, pos_label, sample_weight
        The data that the map is computed from, as for :func:`auprg_score`, errors included.
    new_score : array-like of shape (n_new,), default=None
        The scores to map; by default `y_score`. Scores between two thresholds of the hull belong to the lower one, as
        in a prediction, and those below all of them to the lowest.

    Returns
    -------
    ndarray of shape (n_new,) or (n_samples,)

    Examples
    --------
    >>> f_calibrated_scores([0, 1, 0, 0, 1, 1], [1, 2, 3, 4, 5, 6]).round(3)
    array([0.   , 0.429, 0.429, 0.429, 1.   , 1.   ])
    """
    fps, tps, thresholds = _hull_counts(*_counts(y_true, y_score, pos_label, sample_weight))
    new_score = _numbers("y_score", y_score) if new_score is None else _numbers("new_score", new_score)
    tps, fps = tps / tps[0], fps / tps[0]
    tps_above, fps_above = np.append(tps[1:], 0), np.append(fps[1:], 0)
    added_tps, added_fps = tps - tps_above, fps - fps_above
    calibrated = added_tps / (added_tps + tps_above * added_fps - fps_above * added_tps)
    if new_score.dtype != thresholds.dtype:  # as Python's numbers, which compare exactly whatever their types
        thresholds, new_score = thresholds.astype(object), new_score.astype(object)
    reached = np.searchsorted(thresholds, new_score, side="right")  # how many thresholds of the hull
    return calibrated[np.maximum(reached - 1, 0)]


def fbeta_gain_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    beta: float = 1.0,
    pos_label: Label = 1,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the gain of F_beta: the precision gain for beta = 0, the recall gain for beta = infinity.

    In counts it is 1 - (n+ / n-) (FP + beta^2 FN) / ((1 + beta^2) TP). Arguments and errors are those of
    :func:`sklearn.metrics.fbeta_score`; besides, both classes need samples, and no weight may be negative.

    Returns
    -------
    float
        At most 1. Without true positives precision and recall are 0, and the gain of 0 is minus infinity: as a score
        in a search or a cross-validation such a model ranks last, but a mean over folds becomes ``-inf`` too, and
        scikit-learn's :class:`~sklearn.model_selection.GridSearchCV` warns of scores that are not finite.

    Examples
    --------
    >>> y_true = [1, 0, 0, 1]
    >>> fbeta_gain_score(y_true, [1, 1, 1, 1]), fbeta_gain_score(y_true, [1, 1, 0, 1], beta=0)
    (0.5, 0.5)
    >>> fbeta_gain_score(y_true, [0, 1, 1, 0])
    -inf
    """
    if not isinstance(beta, Real) or not beta >= 0:
        raise ArgumentError(f"'beta' parameter of fbeta_gain_score must be 0 or more, got {beta!r}")
    beta = float(beta)  # before it is squared: that of float16 or int8 would overflow
    _check_pos_label(pos_label)
    y_true, y_pred = _column("y_true", y_true), _column("y_pred", y_pred)
    with config_context(array_api_dispatch=False):  # refuses labels that are not binary, or do not fit
        fbeta_score(y_true, y_pred, beta=1, pos_label=pos_label)
    fps, tps, predicted = _counts(y_true, y_pred == pos_label, pos_label, sample_weight)
    n_pos, n_neg, tp, fp = tps[0], fps[0], tps[-1], fps[-1]
    if tp == 0 or not predicted[-1]:
        return -np.inf
    precision_share = 1 / (1 + beta * beta)  # where beta**2 raises OverflowError, this is 0
    return float(1 - n_pos * (precision_share * fp + (1 - precision_share) * (n_pos - tp)) / (n_neg * tp))


def harmonic_gain(value: ArrayLike, prevalence: float) -> np.ndarray | float:
    """Rescale precision, recall or F_beta to a gain, (v - pi) / ((1 - pi) v).

    Values v are in [0, 1], an array of any shape, and the prevalence pi of the positive class is in (0, 1). A value of
    pi becomes 0, 1 stays 1, and 0 becomes minus infinity.

    >>> harmonic_gain([0.25, 0.4, 1.0], prevalence=0.25)
    array([0. , 0.5, 1. ])
    """
    value, prevalence = finite_numbers("value", value), float(prevalence)
    if not 0 < prevalence < 1:
        raise ArgumentError(f"prevalence must lie between 0 and 1, as both classes have samples; got {prevalence!r}")
    if not np.all((value >= 0) & (value <= 1)):
        raise ArgumentError(f"value must be in [0, 1], like a precision, a recall or an F-measure; got {value!r}")
    with np.errstate(divide="ignore"):
        return (value - prevalence) / ((1 - prevalence) * value)


# The method: counts at every threshold, and the curve through them


def _counts(y_true, y_score, pos_label, sample_weight):
    """False positives and true positives at the distinct scores, and these, increasing; neither class is empty."""
    positive, scores = _positive(y_true, pos_label), _numbers("y_score", y_score)
    weight = None if sample_weight is None else _weights(sample_weight)
    check_consistent_length(positive, scores, weight)
    if weight is not None and not weight.all():
        # a sample of weight 0 is none, so its score is no threshold
        positive, scores, weight = (values[weight > 0] for values in (positive, scores, weight))
    n_pos = np.count_nonzero(positive)
    _check_both_classes(n_pos, len(positive) - n_pos, 1 if pos_label is None else pos_label)

    # sorting values is several times as fast as sorting the order of samples, which only weights need
    ascending = np.sort(scores)
    first = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1]))
    thresholds = ascending[first]
    if weight is None:
        tps = n_pos - np.searchsorted(np.sort(scores[positive]), thresholds)
        return len(scores) - first - tps, tps, thresholds
    descending = np.argsort(scores)[::-1]
    positive, weight = positive[descending], weight[descending]
    # one sum for each class: a difference of sums could fall by rounding where it must not
    fps, tps = (np.cumsum(np.where(part, weight, 0))[::-1][first] for part in (~positive, positive))
    return fps, tps, thresholds


def _curve(fps, tps, thresholds):
    """Gains where TP > 0, with the crossing of recall gain 0, from counts at increasing thresholds."""
    n_pos, n_neg, attained = tps[0], fps[0], slice(0, np.count_nonzero(tps))
    # in this order both are exact at the ends: 1 where FN = 0 or FP = 0, and 0 for the always-positive classifier
    recall_gain = 1 - (n_pos - tps[attained]) / tps[attained] * (n_pos / n_neg)
    precision_gain = 1 - fps[attained] / n_neg / (tps[attained] / n_pos)

    rounding = 4 * np.finfo(float).eps
    index, after = np.searchsorted(-recall_gain, [-rounding, rounding])
    recall_gain[index:after] = 0.0
    curve = precision_gain, recall_gain, thresholds[attained]
    if index < after:  # a threshold attains it
        return curve
    crossing = _crossing(np.append(fps, 0), np.append(tps, 0), np.append(thresholds, np.inf), index)
    return tuple(np.insert(values, index, value) for values, value in zip(curve, crossing, strict=True))


def _crossing(fps, tps, thresholds, above):
    """The point at recall gain 0 below the threshold at `above`, its counts interpolated in exact arithmetic."""
    n_pos, n_neg, tp, fp, tp_above, fp_above = (
        Fraction(float(count)) for count in (tps[0], fps[0], tps[above - 1], fps[above - 1], tps[above], fps[above])
    )
    crossing_tp = n_pos**2 / (n_pos + n_neg)
    share = (crossing_tp - tp_above) / (tp - tp_above)
    crossing_fp = fp_above + share * (fp - fp_above)
    precision_gain = float(1 - n_pos * crossing_fp / (n_neg * crossing_tp))
    low, high = thresholds[above - 1 : above + 1]
    if high == np.inf:
        return precision_gain, 0.0, high
    threshold = float(share) * low + float(1 - share) * high
    return precision_gain, 0.0, np.clip(threshold, np.nextafter(low, high), np.nextafter(high, low))


def _hull_counts(fps, tps, thresholds):
    """The vertices of the ROC convex hull without its origin: the lowest scores of the pools of isotonic regression."""
    added_tps, added_fps = -np.diff(tps, append=0.0), -np.diff(fps, append=0.0)
    counted = (added_tps > 0) | (added_fps > 0)  # a weight can be lost beside a huge one
    fps, tps, thresholds, added_tps, added_fps = (
        values[counted] for values in (fps, tps, thresholds, added_tps, added_fps)
    )
    added = added_tps + added_fps
    fitted = isotonic_regression(added_tps / added, sample_weight=added)
    vertices = np.flatnonzero(np.append(True, np.diff(fitted)))
    added_tps, added_fps = -np.diff(tps[vertices], append=0.0), -np.diff(fps[vertices], append=0.0)
    # equal means of two pools can differ by rounding, equal slopes of counts cannot
    turns = added_tps[1:] * added_fps[:-1] > added_fps[1:] * added_tps[:-1]
    vertices = vertices[np.append(True, turns)]
    return fps[vertices], tps[vertices], thresholds[vertices]


# The door: from what users have to NumPy


def _column(name, values):
    """A one-dimensional NumPy array, without missing and infinite values, of whatever type."""
    check_unmasked(name, values)
    # with array API dispatch on, scikit-learn would hand tensors back, and mixed kinds of arrays are an error then
    with config_context(array_api_dispatch=False):
        array = check_array(
            on_cpu(values), ensure_2d=False, allow_nd=True, dtype=None, ensure_min_samples=0, input_name=name
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.ravel()
    if array.ndim != 1:
        raise ArgumentError(f"'{name}' should be a 1d array, got an array of shape {array.shape}")
    if len(array) == 0:
        raise ArgumentError(f"{name} is empty: give samples of both classes")
    # None stays among objects, and NaN in a list of strings becomes the label "nan"
    objects = np.asarray(values, dtype=object).ravel() if array.dtype.kind in "OU" else ()
    if any(value is None or value != value for value in objects):
        raise ArgumentError(f"{name} has missing values: leave them out of all arguments")
    return array


def _numbers(name, values):
    """A column of numbers in their own type, in which they sort fastest and large integers stay apart."""
    array = _column(name, values)
    if array.dtype.kind not in "biufO":
        raise ArgumentError(f"{name} must hold numbers, got {array[:3]!r}")
    return _as_float64(name, array) if array.dtype.kind == "O" else array


def _as_float64(name, scores):
    """Scores as float64, which must tell them apart as they are."""
    as_float64 = scores.astype(np.float64)
    wide = scores.dtype.kind == "O" or (scores.dtype.itemsize >= 8 and scores.dtype != np.float64)
    if wide and len(np.unique(as_float64)) < len(np.unique(scores)):
        raise ArgumentError(f"{name} holds numbers that float64 cannot tell apart: subtract a constant, or give ranks")
    return as_float64


def _positive(y_true, pos_label):
    """Which samples are positive, as an array of bool."""
    _check_pos_label(pos_label)
    labels = _column("y_true", y_true)
    if labels.dtype.kind in "biuf" and pos_label is None:  # the usual case, without a search for distinct labels
        positive = labels == 1
        if (positive | (labels == 0)).all() or (positive | (labels == -1)).all():
            return positive
    kind = type_of_target(labels, input_name="y_true")
    if kind != "binary" and (kind != "multiclass" or pos_label is None):
        raise ArgumentError(f"y_true must hold the labels of two classes: {kind} format is not supported")
    if pos_label is None:
        raise ArgumentError(
            f"y_true takes value in {{{', '.join(map(repr, np.unique(labels).tolist()))}}} and pos_label is not "
            "specified: either make y_true take value in {0, 1} or {-1, 1} or pass pos_label explicitly."
        )
    return labels == pos_label


def _check_pos_label(pos_label):
    if pos_label is not None and not isinstance(pos_label, (Real, str, np.bool_)):
        raise ArgumentError(f"pos_label must be a number, a string, a bool or None, got {pos_label!r}")


def _weights(sample_weight):
    """Weights in float64, scaled by a power of two so that no sum or product overflows; gains are ratios of sums."""
    weight = _numbers("sample_weight", sample_weight).astype(np.float64)
    if (weight < 0).any():
        raise ArgumentError(f"Negative values in data passed to `sample_weight`: got {weight.min():g}")
    return np.ldexp(weight, -np.frexp(weight.max(initial=0.0))[1])


def _check_both_classes(n_pos, n_neg, pos_label):
    for kind, count in (("positive", n_pos), ("negative", n_neg)):
        if not count > 0:
            raise ArgumentError(
                f"y_true has no samples of the {kind} class (pos_label={pos_label!r}) with a weight above zero, so "
                "gains are undefined: they compare with the prevalence of the positive class. Give samples of both "
                "classes, or correct pos_label or sample_weight."
            )
