"""Precision-Recall-Gain curves drawn, with the interface of scikit-learn's displays.

Behaves like :class:`sklearn.metrics.PrecisionRecallDisplay`: the same ways to make one, the same options with the same
meaning, the same attributes and errors; AUPRG stands in place of the average precision. Import it from
:mod:`lib.precision_recall_gain`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

# All that this project takes from scikit-learn's private side: what its own displays share, so that names, legends and
# errors are theirs. Its signatures change with releases; pyproject.toml holds the release that these belong to.
from sklearn.utils import _safe_indexing
from sklearn.utils._plotting import (
    _BinaryClassifierCurveDisplayMixin,
    _check_param_lengths,
    _despine,
    _validate_style_kwargs,
)

from lib.arguments import on_cpu, real_number
from lib.precision_recall_gain import Label, area_of_gains, precision_recall_gain_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.base import BaseEstimator

#: F-gains at which isometrics are drawn; the always-positive classifier has F1-gain 1/2.
_ISOMETRIC_LEVELS = (0.25, 0.5, 0.75)


class PrecisionRecallGainDisplay(_BinaryClassifierCurveDisplayMixin):
    """Precision-Recall-Gain visualization.

    Make one with :meth:`from_estimator`, :meth:`from_predictions` or :meth:`from_cv_results`. Points are joined by
    straight lines, which are attainable here, unlike in a precision-recall plot. The axes show the unit square, as in
    the paper of Flach and Kull; ``display.ax_.set_ylim`` shows negative gains too.

    Parameters
    ----------
    precision_gain, recall_gain : ndarray or list of ndarrays
        Values of a single curve, or of each of several curves.
    auprg : float or list of floats, default=None
        Area under each curve, shown in the legend unless None.
    name : str or list of str, default=None
        Name for labeling legend entries. A list needs a list of `curve_kwargs` in :meth:`plot`.
    pos_label : int, float, bool or str, default=None
        The positive class, shown in the labels of the axes unless None.

    Attributes
    ----------
    line_, chance_level_, ax_, figure_
        As of :class:`sklearn.metrics.PrecisionRecallDisplay`.
    f_gain_isometrics_ : list of matplotlib Artists or None
        The lines of equal F-gain, if they are plotted.

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
        pos_label: Label | None = None,
    ):
        self.precision_gain = precision_gain
        self.recall_gain = recall_gain
        self.auprg = auprg
        self.name = name
        self.pos_label = pos_label

    def _validate_plot_params(self, *, ax, name):
        self.ax_, self.figure_, name = super()._validate_plot_params(ax=ax, name=name)
        precision_gain, recall_gain, auprg, name = (
            value if value is None or isinstance(value, list) else [value]
            for value in (self.precision_gain, self.recall_gain, self.auprg, name)
        )
        several_names = name if name is not None and len(name) != 1 else None  # one name is for all curves
        _check_param_lengths(
            required={"self.precision_gain": precision_gain, "self.recall_gain": recall_gain},
            optional={"self.auprg": auprg, "'name' (or self.name)": several_names},
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

        The other options are those of :meth:`sklearn.metrics.PrecisionRecallDisplay.plot`. The chance level is
        precision gain 0, where a constant score lies.

        Parameters
        ----------
        plot_f_gain_isometrics : bool, default=False
            Whether to plot lines on which the F-gain is 0.25, 0.5 and 0.75. They are parallel, of slope -beta^2.
        f_gain_beta : float, default=1.0
            The beta of the F-gain, positive and finite.
        f_gain_isometrics_kw : dict, default=None
            Keyword arguments for matplotlib's `plot` for these lines.

        Returns
        -------
        PrecisionRecallGainDisplay
            This object.
        """
        precision_gain, recall_gain, auprg, name = self._validate_plot_params(ax=ax, name=name)
        auprg, legend_metric = self._get_legend_metric(curve_kwargs, len(precision_gain), auprg)
        curve_kwargs = self._validate_curve_kwargs(
            len(precision_gain),
            name,
            legend_metric,
            "AUPRG",
            curve_kwargs=curve_kwargs,
            default_multi_curve_kwargs={"alpha": 0.5, "linestyle": "--", "color": "blue"},
        )
        chance_level_kw = _validate_style_kwargs(
            {"label": "Chance level (AUPRG = 0.00)", "color": "k", "linestyle": "--"}, chance_level_kw or {}
        )
        self.line_ = []
        for recalls, precisions, kwargs in zip(recall_gain, precision_gain, curve_kwargs, strict=True):
            self.line_.extend(self.ax_.plot(recalls, precisions, **kwargs))
        if len(self.line_) == 1:  # as scikit-learn: a single artist if only one curve is plotted
            self.line_ = self.line_[0]
        self.chance_level_ = self.ax_.plot((0, 1), (0, 0), **chance_level_kw)[0] if plot_chance_level else None
        self.f_gain_isometrics_ = (
            self._plot_isometrics(f_gain_beta, f_gain_isometrics_kw or {}) if plot_f_gain_isometrics else None
        )

        label = f" (Positive label: {self.pos_label})" if self.pos_label is not None else ""
        self.ax_.set(xlabel="Recall gain" + label, ylabel="Precision gain" + label)
        self.ax_.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        if despine:
            _despine(self.ax_)
        if curve_kwargs[0].get("label") is not None or (plot_chance_level and chance_level_kw.get("label") is not None):
            self.ax_.legend(loc="lower left")
        return self

    def _plot_isometrics(self, beta, style):
        beta = real_number("f_gain_beta", beta, above=0)
        style = _validate_style_kwargs({"color": "0.4", "linewidth": 0.8, "linestyle": ":", "zorder": 1}, style)
        lines = []
        for level in _ISOMETRIC_LEVELS:
            intercept = (1 + beta**2) * level  # the precision gain at recall gain 0
            lines.extend(self.ax_.plot((0, 1), (intercept, intercept - beta**2), **style))
            # the line enters the unit square from the left or from above; the label stands a tenth further on
            left, right = max(0, (intercept - 1) / beta**2), min(1, intercept / beta**2)
            recall_gain = left + 0.1 * (right - left)
            self.ax_.annotate(
                f"$F_{{G,{beta:g}}}$ = {level:g}",
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
        response_method: str = "auto",
        pos_label: Label | None = None,
        name: str | None = None,
        **options,
    ) -> PrecisionRecallGainDisplay:
        """Plot the curve of a fitted classifier, or of a pipeline that ends in one, on some data.

        By default the positive class is `estimator.classes_[1]`, and the name that of the estimator's class; `options`
        are those of :meth:`from_predictions`.
        """
        y_score, pos_label, name = cls._validate_and_get_response_values(
            estimator, X, y, response_method=response_method, pos_label=pos_label, name=name
        )
        return cls.from_predictions(y, y_score, pos_label=pos_label, name=name, **options)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_score: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        drop_intermediate: bool = False,
        pos_label: Label | None = None,
        name: str | None = None,
        **plot_options,
    ) -> PrecisionRecallGainDisplay:
        """Plot the curve of given scores.

        Arguments are those of :func:`~lib.precision_recall_gain.precision_recall_gain_curve`, the name of the curve,
        by default "Classifier", and those of :meth:`plot`.
        """
        y_true, y_score = on_cpu(y_true), on_cpu(y_score)
        pos_label, name = cls._validate_from_predictions_params(
            y_true, y_score, sample_weight=sample_weight, pos_label=pos_label, name=name
        )
        precision_gain, recall_gain, _ = precision_recall_gain_curve(
            y_true, y_score, pos_label=pos_label, sample_weight=sample_weight, drop_intermediate=drop_intermediate
        )
        auprg = area_of_gains(precision_gain, recall_gain)
        return cls(precision_gain, recall_gain, auprg=auprg, name=name, pos_label=pos_label).plot(**plot_options)

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
        pos_label: Label | None = None,
        name: str | list[str] | None = None,
        chance_level_kwargs: dict[str, Any] | None = None,
        f_gain_isometrics_kwargs: dict[str, Any] | None = None,
        **plot_options,
    ) -> PrecisionRecallGainDisplay:
        """Plot the curve of each fold of a cross-validation.

        `cv_results` is what :func:`sklearn.model_selection.cross_validate` returns with `return_estimator=True` and
        `return_indices=True`. A name, or a list of names, is for all curves, or for each. The other arguments are as
        for :meth:`from_estimator` and :meth:`plot`, but scikit-learn's names of two of them end in `kwargs` here.
        """
        cls._validate_from_cv_results_params(cv_results, X, y, sample_weight=sample_weight)
        curves = []
        for estimator, test in zip(cv_results["estimator"], cv_results["indices"]["test"], strict=True):
            X_test, y_test = _safe_indexing(X, test), _safe_indexing(y, test)
            y_score, fold_pos_label, _ = cls._validate_and_get_response_values(
                estimator, X_test, y_test, response_method=response_method, pos_label=pos_label
            )
            weight = None if sample_weight is None else _safe_indexing(sample_weight, test)
            *gains, _ = precision_recall_gain_curve(
                y_test, y_score, pos_label=fold_pos_label, sample_weight=weight, drop_intermediate=drop_intermediate
            )
            curves.append((*gains, area_of_gains(*gains)))
        precision_gain, recall_gain, auprg = map(list, zip(*curves, strict=True))
        display = cls(precision_gain, recall_gain, auprg=auprg, name=name, pos_label=fold_pos_label)
        return display.plot(
            chance_level_kw=chance_level_kwargs, f_gain_isometrics_kw=f_gain_isometrics_kwargs, **plot_options
        )
