"""Precision-Recall-Gain curves, the area under them, their convex hull, F-gain and F-calibrated scores.

The F-measure is a harmonic mean of precision and recall, and predicting positive always already has the precision pi,
the prevalence of the positive class. On the *gain* scale of Flach and Kull, "Precision-Recall-Gain Curves: PR Analysis
Done Right" (NIPS 2015), a value v in (0, 1] becomes (v - pi) / ((1 - pi) v): 1 stays 1, pi becomes 0, and a harmonic
mean becomes an arithmetic mean. In counts, with n+ positive and n- negative samples,

    precision gain = 1 - (n+ / n-) FP / TP        recall gain = 1 - (n+ / n-) FN / TP

and the gain of F_beta is (precision gain + beta^2 recall gain) / (1 + beta^2). Along a straight line of counts both
gains are linear in 1 / TP. So the straight line between two points of the curve shows the expected counts of choosing
at random between two thresholds, and the area is a sum of trapezoids.

Names, arguments, the order of results and the messages of errors follow :mod:`sklearn.metrics`.
"""

from __future__ import annotations

from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import auc, confusion_matrix_at_thresholds, fbeta_score
from sklearn.utils import _safe_indexing, check_array, column_or_1d

# the private helpers are those of scikit-learn's own metrics and displays; requirements.txt pins the version
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils._plotting import (
    _BinaryClassifierCurveDisplayMixin,
    _check_param_lengths,
    _convert_to_list_leaving_none,
    _despine,
    _validate_style_kwargs,
)
from sklearn.utils._response import _get_response_values_binary
from sklearn.utils.validation import _num_samples, check_non_negative

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

#: F-gains at which isometrics are drawn; the always-positive classifier has F1-gain 1/2.
_ISOMETRIC_LEVELS = (0.25, 0.5, 0.75)

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
    """Compute precision-gain and recall-gain pairs for different thresholds.

    There is a point for each distinct score at which some sample is a true positive (without one, both gains are minus
    infinity), from predicting positive always, with precision gain 0 and recall gain 1, to the highest thresholds,
    where the recall gain can be below 0. Samples with the same score share a point. The point where the recall gain is
    0, at TP = n+^2 / n, bounds the area. If no threshold attains it, it is inserted by interpolating the counts of the
    thresholds around it linearly; above the highest threshold there are no positive predictions.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True binary labels. If labels are not either {-1, 1} or {0, 1}, then `pos_label` should be explicitly given.
    y_score : array-like of shape (n_samples,)
        Target scores: estimated probabilities of the positive class, or decision values.
    pos_label : int, float, bool or str, default=None
        The label of the positive class. By default 1, if `y_true` is in {-1, 1} or {0, 1}; otherwise an error is
        raised.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights, zero or more. A sample of weight 2 counts as two samples, one of weight 0 not at all.
    drop_intermediate : bool, default=False
        Whether to drop points between two others with the same TP or the same FP. They lie on the straight line
        between those, so the curve and its area stay the same.

    Returns
    -------
    precision_gain : ndarray of shape (n_points,)
        Element i is the precision gain of predictions with score >= thresholds[i]; at most 1. The first is 0.
    recall_gain : ndarray of shape (n_points,)
        Decreasing: element i is the recall gain of predictions with score >= thresholds[i]. The first is 1, and at
        least one is exactly 0.
    thresholds : ndarray of shape (n_points,)
        Increasing thresholds, floating-point numbers. That of an inserted point, which no threshold attains, lies
        between its neighbours' in the proportion of the counts; above the highest score it is ``inf``.

    Raises
    ------
    ValueError
        As :func:`sklearn.metrics.precision_recall_curve`; also if one of the classes has no samples, so that gains are
        undefined, or if a weight is negative.

    See Also
    --------
    auprg_score : The area under this curve.
    precision_recall_gain_hull : Its convex hull.
    PrecisionRecallGainDisplay : Plot it.

    References
    ----------
    P. Flach and M. Kull, "Precision-Recall-Gain Curves: PR Analysis Done Right", NIPS 2015.

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
    if drop_intermediate and len(tps) > 2:
        same_fps, same_tps = np.diff(fps) == 0, np.diff(tps) == 0
        between = (same_fps[:-1] & same_fps[1:]) | (same_tps[:-1] & same_tps[1:])
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
    """Compute the area under the Precision-Recall-Gain curve, over recall gains from 0 to 1.

    A perfect ranking has 1, equal scores for all samples have 0, and a ranking that is worse can have any negative
    value. The area does not change if the scores are transformed by a strictly increasing function.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True binary labels. If labels are not either {-1, 1} or {0, 1}, then `pos_label` should be explicitly given.
    y_score : array-like of shape (n_samples,)
        Target scores: estimated probabilities of the positive class, or decision values.
    pos_label : int, float, bool or str, default=None
        The label of the positive class, 1 by default.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights, zero or more.

    Returns
    -------
    float
        The area, at most 1.

    Raises
    ------
    ValueError
        As :func:`precision_recall_gain_curve`.

    References
    ----------
    P. Flach and M. Kull, "Precision-Recall-Gain Curves: PR Analysis Done Right", NIPS 2015, which relates the area to
    an expected F1-gain.

    Examples
    --------
    >>> auprg_score([1, 1, 0, 0, 1, 0], [0.8, 0.8, 0.6, 0.4, 0.4, 0.2])  # 17/24
    0.70833...
    """
    precision_gain, recall_gain, _ = precision_recall_gain_curve(
        y_true, y_score, pos_label=pos_label, sample_weight=sample_weight
    )
    return _area(precision_gain, recall_gain)


@validate_params(_SCORE_PARAMETERS, prefer_skip_nested_validation=True)
def precision_recall_gain_hull(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    pos_label: float | bool | str | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the upper right convex hull of the Precision-Recall-Gain curve.

    Its vertices are the thresholds that maximise F_beta for some beta, from the highest precision (beta = 0) to the
    highest recall, and at last the always-positive classifier. To the left of the highest precision gain the hull is
    horizontal: leaving out a random part of those predictions keeps their precision.

    The map from ROC space, with axes FP and TP, to gains is projective, and so keeps straight lines and convexity: the
    vertices are those of the ROC convex hull without its origin.

    Parameters
    ----------
    y_true, y_score, pos_label, sample_weight
        As for :func:`precision_recall_gain_curve`.

    Returns
    -------
    precision_gain, recall_gain, thresholds : ndarrays of shape (n_vertices,)
        As :func:`precision_recall_gain_curve` returns them, for the vertices only. The point at recall gain 0 is
        inserted here too, between vertices; its threshold can be a score, but predictions there have other gains.

    Raises
    ------
    ValueError
        As :func:`precision_recall_gain_curve`.

    References
    ----------
    P. Flach and M. Kull, "Precision-Recall-Gain Curves: PR Analysis Done Right", NIPS 2015.

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
    return _curve(*_hull_counts(*_counts(y_true, y_score, pos_label, sample_weight)))


@validate_params({**_SCORE_PARAMETERS, "new_score": ["array-like", None]}, prefer_skip_nested_validation=True)
def f_calibrated_scores(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    pos_label: float | bool | str | None = None,
    sample_weight: ArrayLike | None = None,
    new_score: ArrayLike | None = None,
) -> np.ndarray:
    """Map scores to F-calibrated scores in [0, 1], by the slopes of the Precision-Recall-Gain convex hull.

    Predicting positive where the F-calibrated score is at least 1 / (1 + beta^2) maximises F_beta over all thresholds,
    for every beta: at least 1/2 for F1. (Calibrated probabilities would have to be compared with F* / (1 + beta^2),
    where F* is that maximum, which depends on the classifier.)

    On a hull segment of slope s, F_beta is the same at both ends if beta^2 = -s, so the scores of the segment become
    1 / (1 - s). If TP and FP are the counts above the segment, and it adds DTP and DFP, that is
    n+ DTP / (n+ DTP + TP DFP - FP DTP).

    Parameters
    ----------
    y_true, y_score, pos_label, sample_weight
        As for :func:`precision_recall_gain_curve`: the data that the map is computed from.
    new_score : array-like of shape (n_new,), default=None
        The scores to map; by default those of `y_score`. Scores between two thresholds of the hull belong to the lower
        one, as in a prediction, and those below all of them to the lowest.

    Returns
    -------
    ndarray of shape (n_new,) or (n_samples,)

    Raises
    ------
    ValueError
        As :func:`precision_recall_gain_curve`; also if `new_score` is not finite or not one-dimensional.

    References
    ----------
    P. Flach and M. Kull, "Precision-Recall-Gain Curves: PR Analysis Done Right", NIPS 2015.

    Examples
    --------
    >>> f_calibrated_scores([0, 1, 0, 0, 1, 1], [1, 2, 3, 4, 5, 6]).round(3)
    array([0.   , 0.429, 0.429, 0.429, 1.   , 1.   ])
    """
    fps, tps, thresholds = _hull_counts(*_counts(y_true, y_score, pos_label, sample_weight))
    new_score = y_score if new_score is None else new_score
    new_score = check_array(column_or_1d(new_score), ensure_2d=False, input_name="new_score")
    tps, fps = tps / tps[-1], fps / tps[-1]
    added_tps, added_fps = np.diff(tps, prepend=0), np.diff(fps, prepend=0)
    tps_above, fps_above = tps - added_tps, fps - added_fps
    calibrated = added_tps / (added_tps + tps_above * added_fps - fps_above * added_tps)
    reached = np.searchsorted(thresholds[::-1], new_score, side="right")  # how many thresholds of the hull
    return calibrated[::-1][np.maximum(reached - 1, 0)]


@validate_params(
    {
        "y_true": ["array-like"],
        "y_pred": ["array-like"],
        "beta": [Interval(Real, 0.0, None, closed="both")],
        "pos_label": [Real, str, "boolean"],
        "sample_weight": ["array-like", None],
    },
    prefer_skip_nested_validation=True,
)
def fbeta_gain_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    beta: float = 1.0,
    pos_label: float | bool | str = 1,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the gain of F_beta: the precision gain for beta = 0, the recall gain for beta = infinity.

    It equals (precision gain + beta^2 recall gain) / (1 + beta^2). In counts it is
    1 - (n+ / n-) (FP + beta^2 FN) / ((1 + beta^2) TP).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted binary labels.
    beta : float, default=1.0
        How many times as much the recall counts as the precision, from 0 to infinity.
    pos_label : int, float, bool or str, default=1
        The label of the positive class.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights, zero or more.

    Returns
    -------
    float
        At most 1, and minus infinity without true positives.

    Raises
    ------
    ValueError
        As :func:`sklearn.metrics.fbeta_score`; also if one of the classes has no samples, or a weight is negative.

    Examples
    --------
    >>> y_true = [1, 0, 0, 1]
    >>> fbeta_gain_score(y_true, [1, 1, 1, 1]), fbeta_gain_score(y_true, [1, 1, 0, 1], beta=0)
    (0.5, 0.5)
    """
    if sample_weight is not None:
        check_non_negative(column_or_1d(sample_weight), "`sample_weight`")
    fbeta_score(y_true, y_pred, beta=beta, pos_label=pos_label, sample_weight=sample_weight)  # checks all of them
    positive, predicted = column_or_1d(y_true) == pos_label, column_or_1d(y_pred) == pos_label
    weight = np.ones(len(positive)) if sample_weight is None else column_or_1d(sample_weight)
    _check_both_classes(n_pos := weight[positive].sum(), n_neg := weight[~positive].sum(), pos_label)
    tp, fp, fn = (weight[part].sum() for part in (positive & predicted, ~positive & predicted, positive & ~predicted))
    if tp == 0:
        return -np.inf
    precision_share = 1 / (1 + beta**2)
    return float(1 - n_pos * (precision_share * fp + (1 - precision_share) * fn) / (n_neg * tp))


def harmonic_gain(value: ArrayLike, prevalence: float) -> np.ndarray | float:
    """Rescale precision, recall or F_beta to a gain, (v - pi) / ((1 - pi) v): pi becomes 0, and 1 stays 1.

    Parameters
    ----------
    value : float or array of any shape
        Values v in [0, 1].
    prevalence : float
        The prevalence pi of the positive class, in (0, 1).

    Returns
    -------
    float or array of the shape of `value`
        Gains, at most 1; minus infinity for the value 0.

    Raises
    ------
    ValueError
        If `prevalence` or a value is out of range, or is not a number.

    References
    ----------
    P. Flach and M. Kull, "Precision-Recall-Gain Curves: PR Analysis Done Right", NIPS 2015.

    Examples
    --------
    >>> harmonic_gain([0.25, 0.4, 1.0], prevalence=0.25)
    array([0. , 0.5, 1. ])
    """
    value = np.asarray(value, dtype=float)
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must lie between 0 and 1, as both classes have samples; got {prevalence!r}")
    if not np.all((value >= 0) & (value <= 1)):
        raise ValueError(f"value must be in [0, 1], like a precision, a recall or an F-measure; got {value!r}")
    with np.errstate(divide="ignore"):
        return (value - prevalence) / ((1 - prevalence) * value)


def _counts(y_true, y_score, pos_label, sample_weight):
    """False positives, true positives and thresholds, which decrease; there are samples of both classes."""
    if getattr(y_true, "shape", None) != () and _num_samples(y_true) == 0:  # here scikit-learn's message is unclear
        raise ValueError("y_true is empty: give samples of both classes")
    _, fps, _, tps, thresholds = confusion_matrix_at_thresholds(
        y_true, y_score, pos_label=pos_label, sample_weight=sample_weight
    )
    if sample_weight is not None:
        check_non_negative(column_or_1d(sample_weight), "`sample_weight`")
    _check_both_classes(tps[-1], fps[-1], 1 if pos_label is None else pos_label)
    return fps, tps, thresholds


def _check_both_classes(n_pos, n_neg, pos_label):
    for kind, count in (("positive", n_pos), ("negative", n_neg)):
        if not count > 0:
            raise ValueError(
                f"y_true has no samples of the {kind} class (pos_label={pos_label!r}) with a weight above zero, so "
                "gains are undefined: they compare with the prevalence of the positive class. Give samples of both "
                "classes, or correct pos_label or sample_weight."
            )


def _curve(fps, tps, thresholds):
    """Gains where TP > 0, with the crossing of recall gain 0, from counts at decreasing to increasing thresholds."""
    n_pos, n_neg = tps[-1], fps[-1]
    start = int(np.searchsorted(tps, 0, side="right"))
    # both quotients are exact at the ends: 1 where FN = 0 or FP = 0, and 0 for the always-positive classifier
    recall_gain = n_pos - tps[start:]
    recall_gain /= tps[start:]
    recall_gain *= n_pos / n_neg
    np.subtract(1, recall_gain, out=recall_gain)
    precision_gain = fps[start:] / n_neg
    precision_gain /= tps[start:] / n_pos
    np.subtract(1, precision_gain, out=precision_gain)

    rounding = 4 * np.finfo(float).eps
    first, after = np.searchsorted(recall_gain, [-rounding, rounding])
    recall_gain[first:after] = 0.0
    if thresholds.dtype.kind != "f":  # that of a crossing need not be an integer
        thresholds = thresholds.astype(float)
    crossing = _crossing(fps, tps, thresholds, start + int(first)) if first == after else [[], [], thresholds[:0]]
    return tuple(
        np.concatenate((values[first:][::-1], inserted, values[:first][::-1]))
        for values, inserted in zip((precision_gain, recall_gain, thresholds[start:]), crossing, strict=True)
    )


def _crossing(fps, tps, thresholds, index):
    """The point at recall gain 0 between the threshold at `index` and the one above it, in exact arithmetic."""
    n_pos, n_neg, tp, fp = (Fraction(float(count)) for count in (tps[-1], fps[-1], tps[index], fps[index]))
    tp_above, fp_above, threshold_above = Fraction(0), Fraction(0), np.inf
    if index > 0:
        tp_above, fp_above = Fraction(float(tps[index - 1])), Fraction(float(fps[index - 1]))
        threshold_above = thresholds[index - 1]
    crossing_tp = n_pos**2 / (n_pos + n_neg)
    share = (crossing_tp - tp_above) / (tp - tp_above)
    crossing_fp = fp_above + share * (fp - fp_above)
    precision_gain = 1 - n_pos * crossing_fp / (n_neg * crossing_tp)
    threshold = float(share) * thresholds[index] + float(1 - share) * threshold_above
    return [float(precision_gain)], [0.0], np.array([threshold], thresholds.dtype)


def _area(precision_gain, recall_gain):
    inside = recall_gain >= 0
    return auc(recall_gain[inside], precision_gain[inside])


def _hull_counts(fps, tps, thresholds):
    """The vertices of the ROC convex hull without its origin: the last scores of the pools of isotonic regression."""
    _, exponent = np.frexp(tps[-1] + fps[-1])
    fps, tps = np.ldexp(fps, -exponent), np.ldexp(tps, -exponent)  # exact, and products of weights stay in range
    counted = (np.diff(tps, prepend=0) > 0) | (np.diff(fps, prepend=0) > 0)  # not lost beside a huge weight
    fps, tps, thresholds = fps[counted], tps[counted], thresholds[counted]
    added_tps, added_fps = np.diff(tps, prepend=0), np.diff(fps, prepend=0)
    added = added_tps + added_fps
    fitted = isotonic_regression(added_tps / added, sample_weight=added, increasing=False)
    vertices = np.append(np.nonzero(np.diff(fitted))[0], len(tps) - 1)
    added_tps, added_fps = np.diff(tps[vertices], prepend=0), np.diff(fps[vertices], prepend=0)
    # equal means of two pools can differ by rounding, equal slopes of counts cannot
    turns = added_tps[:-1] * added_fps[1:] > added_fps[:-1] * added_tps[1:]
    vertices = vertices[np.append(turns, True)]
    return fps[vertices], tps[vertices], thresholds[vertices]


class PrecisionRecallGainDisplay(_BinaryClassifierCurveDisplayMixin):
    """Precision-Recall-Gain visualization.

    It is recommended to use :meth:`from_estimator`, :meth:`from_predictions` or :meth:`from_cv_results` to create a
    display. All parameters are stored as attributes. It follows :class:`sklearn.metrics.PrecisionRecallDisplay`, whose
    parameters have the same meaning here.

    Parameters
    ----------
    precision_gain, recall_gain : ndarray or list of ndarrays
        Values of a single curve, or a list of them for each of several curves.
    auprg : float or list of floats, default=None
        Area under each curve, shown in the legend. If None, no areas are shown.
    name : str or list of str, default=None
        Name for labeling legend entries. A list needs a list of `curve_kwargs` in :meth:`plot`.
    pos_label : int, float, bool or str, default=None
        The positive class, shown in the labels of the axes if not None.

    Attributes
    ----------
    line_ : matplotlib Artist or list of Artists
        Precision-Recall-Gain curve(s).
    chance_level_ : matplotlib Artist or None
        The chance level, if it is plotted.
    f_gain_isometrics_ : list of matplotlib Artists or None
        The lines of equal F-gain, if they are plotted.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    precision_recall_gain_curve, auprg_score

    Notes
    -----
    Points are joined by straight lines, which are attainable here, unlike in a precision-recall plot. The axes show the
    unit square, as in the paper of Flach and Kull; ``display.ax_.set_ylim`` shows negative gains too.

    Examples
    --------
    >>> y_true, y_score = [1, 1, 0, 0, 1, 0], [0.8, 0.8, 0.6, 0.4, 0.4, 0.2]
    >>> display = PrecisionRecallGainDisplay.from_predictions(y_true, y_score, name="Example", plot_chance_level=True)
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['Example (AUPRG = 0.71)', 'Chance level (AUPRG = 0.00)']
    """

    def __init__(
        self,
        precision_gain: np.ndarray | list[np.ndarray],
        recall_gain: np.ndarray | list[np.ndarray],
        *,
        auprg: float | list[float] | None = None,
        name: str | list[str] | None = None,
        pos_label: float | bool | str | None = None,
    ):
        self.precision_gain = precision_gain
        self.recall_gain = recall_gain
        self.auprg = auprg
        self.name = name
        self.pos_label = pos_label

    def _validate_plot_params(self, *, ax, name):
        self.ax_, self.figure_, name = super()._validate_plot_params(ax=ax, name=name)
        precision_gain = _convert_to_list_leaving_none(self.precision_gain)
        recall_gain = _convert_to_list_leaving_none(self.recall_gain)
        auprg = _convert_to_list_leaving_none(self.auprg)
        name = _convert_to_list_leaving_none(name)
        optional = {"self.auprg": auprg}
        if isinstance(name, list) and len(name) != 1:
            optional["'name' (or self.name)"] = name
        _check_param_lengths(
            required={"self.precision_gain": precision_gain, "self.recall_gain": recall_gain},
            optional=optional,
            class_name=type(self).__name__,
        )
        return precision_gain, recall_gain, auprg, name

    def plot(
        self,
        ax: Axes | None = None,
        *,
        name: str | list[str] | None = None,
        curve_kwargs: dict[str, Any] | list[dict[str, Any]] | None = None,
        plot_chance_level: bool = False,
        chance_level_kw: dict[str, Any] | None = None,
        plot_f_gain_isometrics: bool = False,
        f_gain_beta: float = 1.0,
        f_gain_isometrics_kw: dict[str, Any] | None = None,
        despine: bool = False,
    ) -> PrecisionRecallGainDisplay:
        """Plot visualization.

        Parameters
        ----------
        ax : Matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes is created.
        name : str or list of str, default=None
            Name for labeling legend entries; by default that of the display.
        curve_kwargs : dict or list of dict, default=None
            Keyword arguments for matplotlib's `plot`. For several curves, a list gives each its own and a legend entry;
            a single dict is for all, with one legend entry that shows the mean area and its standard deviation.
        plot_chance_level : bool, default=False
            Whether to plot the chance level: precision gain 0, where a classifier that ignores its input lies.
        chance_level_kw : dict, default=None
            Keyword arguments for matplotlib's `plot` for the chance level.
        plot_f_gain_isometrics : bool, default=False
            Whether to plot lines on which the F-gain is 0.25, 0.5 and 0.75. They are parallel, of slope -beta^2.
        f_gain_beta : float, default=1.0
            The beta of the F-gain, positive and finite.
        f_gain_isometrics_kw : dict, default=None
            Keyword arguments for matplotlib's `plot` for these lines.
        despine : bool, default=False
            Whether to remove the top and right spines from the plot.

        Returns
        -------
        PrecisionRecallGainDisplay
            This object.

        Raises
        ------
        ValueError
            If the lengths of lists do not match, or `f_gain_beta` is not a positive finite number.
        """
        precision_gain, recall_gain, auprg, name = self._validate_plot_params(ax=ax, name=name)
        n_curves = len(precision_gain)
        auprg, legend_metric = self._get_legend_metric(curve_kwargs, n_curves, auprg)
        curve_kwargs = self._validate_curve_kwargs(
            n_curves,
            name,
            legend_metric,
            "AUPRG",
            curve_kwargs=curve_kwargs,
            default_multi_curve_kwargs={"alpha": 0.5, "linestyle": "--", "color": "blue"},
        )
        self.line_ = []
        for recalls, precisions, kwargs in zip(recall_gain, precision_gain, curve_kwargs, strict=True):
            self.line_.extend(self.ax_.plot(recalls, precisions, **kwargs))
        if len(self.line_) == 1:  # as scikit-learn: a single artist if only one curve is plotted
            self.line_ = self.line_[0]

        label = f" (Positive label: {self.pos_label})" if self.pos_label is not None else ""
        self.ax_.set(
            xlabel="Recall gain" + label,
            xlim=(-0.01, 1.01),
            ylabel="Precision gain" + label,
            ylim=(-0.01, 1.01),
            aspect="equal",
        )

        self.chance_level_ = None
        chance_level_kw = _validate_style_kwargs(
            {"label": "Chance level (AUPRG = 0.00)", "color": "k", "linestyle": "--"}, chance_level_kw or {}
        )
        if plot_chance_level:
            (self.chance_level_,) = self.ax_.plot((0, 1), (0, 0), **chance_level_kw)

        self.f_gain_isometrics_ = None
        if plot_f_gain_isometrics:
            self.f_gain_isometrics_ = self._plot_isometrics(f_gain_beta, f_gain_isometrics_kw or {})

        if despine:
            _despine(self.ax_)
        if curve_kwargs[0].get("label") is not None or (plot_chance_level and chance_level_kw.get("label") is not None):
            self.ax_.legend(loc="lower left")
        return self

    def _plot_isometrics(self, beta, style):
        if not (isinstance(beta, Real) and 0 < beta < np.inf):
            raise ValueError(f"f_gain_beta must be a positive finite number, got {beta!r}")
        style = _validate_style_kwargs({"color": "0.4", "linewidth": 0.8, "linestyle": ":", "zorder": 1}, style)
        lines = []
        for level in _ISOMETRIC_LEVELS:
            intercept = (1 + beta**2) * level  # the precision gain at recall gain 0
            lines.extend(self.ax_.plot((0, 1), (intercept, intercept - beta**2), **style))
            # the line enters the unit square from the left or from above; the label stands a tenth further on
            left, right = max(0, (intercept - 1) / beta**2), min(1, intercept / beta**2)
            recall_gain = left + 0.1 * (right - left)
            self.ax_.annotate(
                f"$FG_{{{beta:g}}}$ = {level:g}",
                (recall_gain, intercept - beta**2 * recall_gain),
                rotation=-np.degrees(np.arctan(beta**2)),
                rotation_mode="anchor",
                va="bottom",
                size="small",
                color=lines[-1].get_color(),
                zorder=lines[-1].get_zorder(),
            )
        return lines

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        drop_intermediate: bool = False,
        response_method: str = "auto",
        pos_label: float | bool | str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        curve_kwargs: dict[str, Any] | None = None,
        plot_chance_level: bool = False,
        chance_level_kw: dict[str, Any] | None = None,
        plot_f_gain_isometrics: bool = False,
        f_gain_beta: float = 1.0,
        f_gain_isometrics_kw: dict[str, Any] | None = None,
        despine: bool = False,
    ) -> PrecisionRecallGainDisplay:
        """Plot the Precision-Recall-Gain curve of a fitted classifier on some data.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier, or a fitted :class:`~sklearn.pipeline.Pipeline` whose last step is one.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
        drop_intermediate : bool, default=False
            Whether to drop points that lie on the line between their neighbours.
        response_method : {'predict_proba', 'decision_function', 'auto'}, default='auto'
            With 'auto', :term:`predict_proba` is tried first, then :term:`decision_function`.
        pos_label : int, float, bool or str, default=None
            The positive class; by default `estimator.classes_[1]`.
        name : str, default=None
            Name of the curve; by default that of the estimator's class.
        ax, curve_kwargs, plot_chance_level, chance_level_kw, despine
            See :meth:`plot`.
        plot_f_gain_isometrics, f_gain_beta, f_gain_isometrics_kw
            See :meth:`plot`.

        Returns
        -------
        PrecisionRecallGainDisplay
        """
        y_score, pos_label, name = cls._validate_and_get_response_values(
            estimator, X, y, response_method=response_method, pos_label=pos_label, name=name
        )
        return cls.from_predictions(
            y,
            y_score,
            sample_weight=sample_weight,
            drop_intermediate=drop_intermediate,
            pos_label=pos_label,
            name=name,
            ax=ax,
            curve_kwargs=curve_kwargs,
            plot_chance_level=plot_chance_level,
            chance_level_kw=chance_level_kw,
            plot_f_gain_isometrics=plot_f_gain_isometrics,
            f_gain_beta=f_gain_beta,
            f_gain_isometrics_kw=f_gain_isometrics_kw,
            despine=despine,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_score: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        drop_intermediate: bool = False,
        pos_label: float | bool | str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        curve_kwargs: dict[str, Any] | None = None,
        plot_chance_level: bool = False,
        chance_level_kw: dict[str, Any] | None = None,
        plot_f_gain_isometrics: bool = False,
        f_gain_beta: float = 1.0,
        f_gain_isometrics_kw: dict[str, Any] | None = None,
        despine: bool = False,
    ) -> PrecisionRecallGainDisplay:
        """Plot the Precision-Recall-Gain curve of given scores.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True binary labels.
        y_score : array-like of shape (n_samples,)
            Estimated probabilities or decision values.
        sample_weight : array-like of shape (n_samples,), default=None
        drop_intermediate : bool, default=False
            Whether to drop points that lie on the line between their neighbours.
        pos_label : int, float, bool or str, default=None
            The positive class; 1 by default, if `y_true` is in {-1, 1} or {0, 1}.
        name : str, default=None
            Name of the curve; "Classifier" by default.
        ax, curve_kwargs, plot_chance_level, chance_level_kw, despine
            See :meth:`plot`.
        plot_f_gain_isometrics, f_gain_beta, f_gain_isometrics_kw
            See :meth:`plot`.

        Returns
        -------
        PrecisionRecallGainDisplay
        """
        y_true = check_array(y_true, ensure_2d=False, dtype=None)
        pos_label, name = cls._validate_from_predictions_params(
            y_true, y_score, sample_weight=sample_weight, pos_label=pos_label, name=name
        )
        precision_gain, recall_gain, _ = precision_recall_gain_curve(
            y_true,
            y_score,
            pos_label=pos_label,
            sample_weight=sample_weight,
            drop_intermediate=drop_intermediate,
        )
        display = cls(
            precision_gain=precision_gain,
            recall_gain=recall_gain,
            auprg=_area(precision_gain, recall_gain),
            name=name,
            pos_label=pos_label,
        )
        return display.plot(
            ax=ax,
            name=name,
            curve_kwargs=curve_kwargs,
            plot_chance_level=plot_chance_level,
            chance_level_kw=chance_level_kw,
            plot_f_gain_isometrics=plot_f_gain_isometrics,
            f_gain_beta=f_gain_beta,
            f_gain_isometrics_kw=f_gain_isometrics_kw,
            despine=despine,
        )

    @classmethod
    def from_cv_results(
        cls,
        cv_results: dict[str, Any],
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        drop_intermediate: bool = True,
        response_method: str = "auto",
        pos_label: float | bool | str | None = None,
        name: str | list[str] | None = None,
        ax: Axes | None = None,
        curve_kwargs: dict[str, Any] | list[dict[str, Any]] | None = None,
        plot_chance_level: bool = False,
        chance_level_kwargs: dict[str, Any] | None = None,
        plot_f_gain_isometrics: bool = False,
        f_gain_beta: float = 1.0,
        f_gain_isometrics_kwargs: dict[str, Any] | None = None,
        despine: bool = False,
    ) -> PrecisionRecallGainDisplay:
        """Plot a Precision-Recall-Gain curve for each fold of a cross-validation.

        Parameters
        ----------
        cv_results : dict
            As returned by :func:`sklearn.model_selection.cross_validate` with `return_estimator=True` and
            `return_indices=True`.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
        drop_intermediate : bool, default=True
            Whether to drop points that lie on the line between their neighbours.
        response_method : {'predict_proba', 'decision_function', 'auto'}, default='auto'
            With 'auto', :term:`predict_proba` is tried first, then :term:`decision_function`.
        pos_label : int, float, bool or str, default=None
            The positive class; by default `estimator.classes_[1]`.
        name : str or list of str, default=None
            Name of all curves, or of each.
        ax, curve_kwargs, plot_chance_level, plot_f_gain_isometrics, f_gain_beta, despine
            See :meth:`plot`.
        chance_level_kwargs, f_gain_isometrics_kwargs : dict, default=None
            `chance_level_kw` and `f_gain_isometrics_kw` of :meth:`plot`.

        Returns
        -------
        PrecisionRecallGainDisplay
        """
        cls._validate_from_cv_results_params(cv_results, X, y, sample_weight=sample_weight)
        precision_gains, recall_gains = [], []
        for estimator, test in zip(cv_results["estimator"], cv_results["indices"]["test"], strict=True):
            y_score, fold_pos_label = _get_response_values_binary(
                estimator, _safe_indexing(X, test), response_method=response_method, pos_label=pos_label
            )
            precision_gain, recall_gain, _ = precision_recall_gain_curve(
                _safe_indexing(y, test),
                y_score,
                pos_label=fold_pos_label,
                sample_weight=None if sample_weight is None else _safe_indexing(sample_weight, test),
                drop_intermediate=drop_intermediate,
            )
            precision_gains.append(precision_gain)
            recall_gains.append(recall_gain)
        display = cls(
            precision_gain=precision_gains,
            recall_gain=recall_gains,
            auprg=[_area(*gains) for gains in zip(precision_gains, recall_gains, strict=True)],
            name=name,
            pos_label=fold_pos_label,
        )
        return display.plot(
            ax=ax,
            curve_kwargs=curve_kwargs,
            plot_chance_level=plot_chance_level,
            chance_level_kw=chance_level_kwargs,
            plot_f_gain_isometrics=plot_f_gain_isometrics,
            f_gain_beta=f_gain_beta,
            f_gain_isometrics_kw=f_gain_isometrics_kwargs,
            despine=despine,
        )
