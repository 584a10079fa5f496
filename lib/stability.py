"""How large a learning rate may be on ``h/2 * w**2`` when gradients are stale; c is the learning rate times h."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def constant_staleness_bound(staleness: ArrayLike) -> np.ndarray:
    """The c below which ``w[v + 1] = w[v] - c * w[v - staleness]`` tends to 0: 2 sin(pi / (2 (2 staleness + 1)))."""
    return 2 * np.sin(np.pi / (2 * (2 * np.asarray(staleness) + 1)))


def exponential_learners_bound(n_learners: ArrayLike) -> np.ndarray:
    """The c below which the mean of ``w**2`` tends to 0 with n_learners >= 2 learners of exponential compute times."""
    P = np.asarray(n_learners)
    return (1 + np.sqrt(1 + 8 * P)) / (2 * P)


def largest_root(staleness: int, c: float) -> float:
    """The largest modulus of the roots of ``z**(staleness + 1) - z**staleness + c``: what a step leaves in the end."""
    if staleness == 0:
        return abs(1 - c)
    return np.abs(np.roots([1, -1, *[0] * (staleness - 1), c])).max()


def moment_map(n_learners: int, c: float) -> np.ndarray:
    """One update of exponential learners as a matrix on four second moments, shape (4, 4).

    The moments are those of the server's weights w and of what learners hold, u and u' of two different ones:
    E[w^2], E[w u], E[u^2], E[u u'].
    """
    q = 1 / n_learners  # each learner is the next to deliver with this probability
    kappa = np.array([0, 1, 0, -c])  # E[w' u] after the update, for a learner that has not delivered
    alpha = np.array([1, -2 * c, c**2, 0])
    beta = q * alpha + (1 - q) * kappa
    gamma = q * alpha + (1 - q) * np.array([0, 0, 1, 0])
    delta = 2 * q * kappa + (1 - 2 * q) * np.array([0, 0, 0, 1])
    return np.array([alpha, beta, gamma, delta])


def moment_radius(n_learners: int, c: float) -> float:
    """The spectral radius of :func:`moment_map`: what an update leaves of the mean square in the end."""
    return np.abs(np.linalg.eigvals(moment_map(n_learners, c))).max()
