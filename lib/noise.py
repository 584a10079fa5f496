"""The noise of stochastic gradient descent: its scale, and what it does in one direction of a quadratic loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.arguments import ArgumentError


def noise_scale(learning_rate: float, batch_size: float, n_images: int, *, momentum: float = 0.0) -> float:
    """Noise scale of SGD: the strength of its gradient noise in units of a sample's, over training time.

    g = learning_rate (n_images / batch_size - 1) / (1 - momentum), for batches drawn without replacement from
    n_images. Learning rate and batch size may be arrays. ArgumentError if a batch is larger than the training
    set, or momentum is not in [0, 1).

    Sources: Smith and Le, "A Bayesian perspective on generalization and stochastic gradient descent", ICLR 2018; with
    momentum: Smith, Kindermans, Ying, Le, "Don't decay the learning rate, increase the batch size", ICLR 2018.

    >>> noise_scale(0.1, 32, 3200)
    9.9
    """
    if np.any(np.asarray(batch_size) > n_images) or np.any(np.asarray(batch_size) < 1):
        raise ArgumentError(f"batch_size must lie between 1 and n_images = {n_images}, not {batch_size!r}")
    if not 0 <= momentum < 1:
        raise ArgumentError(f"momentum must be at least 0 and below 1, not {momentum!r}")
    return learning_rate * (n_images / batch_size - 1) / (1 - momentum)


def mean_squares(steps: np.ndarray, batch_sizes: Sequence[int], n_images: int, *, start: float = 1.0) -> np.ndarray:
    """E[w^2] before every step of SGD in one direction, where the loss is h w^2 / 2: the exact recursion.

    A step of rate eta with an independent batch of B out of N images, whose gradients of a single image have the
    variance s^2, maps E[w^2] to (1 - eta h)^2 E[w^2] + eta^2 s^2 (1/B - 1/N). With w in units of s / h only eta h
    counts.

    Parameters
    ----------
    steps : array (n_steps,) or (n_steps, n_directions)
        eta h of every step: learning rate times curvature.
    batch_sizes : sequence of int, (n_steps,)
        B of every step.
    n_images : int
        N.
    start : float
        E[w^2] before the first step, in units of (s / h)^2.

    Returns
    -------
    array, shaped as `steps`
        E[w^2] in units of (s / h)^2; the excess loss of a training, as it measures it, is proportional to it.

    Examples
    --------
    >>> mean_squares(np.full(3, 0.5), [10, 10, 10], 10, start=1.0).tolist()  # full batches: no noise
    [1.0, 0.25, 0.0625]
    """
    batch_sizes = np.asarray(batch_sizes)
    if len(batch_sizes) != len(steps) or batch_sizes.min() < 1 or batch_sizes.max() > n_images:
        raise ArgumentError(f"batch_sizes must hold one size from 1 to {n_images} for each of the {len(steps)} steps")
    squares = np.empty(np.shape(steps))
    square = np.full(squares.shape[1:], float(start))
    for i, (step, batch_size) in enumerate(zip(steps, batch_sizes, strict=True)):
        squares[i] = square  # before the step, as the loss of a batch is measured
        square = (1 - step) ** 2 * square + step**2 * (1 / batch_size - 1 / n_images)
    return squares
