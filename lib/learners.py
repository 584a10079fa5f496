"""What learners compute: two models whose mini-batch gradients need nothing but the weights and two numbers.

Both are tasks for :mod:`lib.parameter_server`: gradient i of learner j uses the same examples in every process and in
every repetition. Importing this module does not import PyTorch; :class:`ImageClassifier` does when it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit


class LogisticRegression:
    """The mean logistic loss plus ``penalty / 2 * |w|^2``: strictly convex, so its minimum can be computed.

    Parameters
    ----------
    features : array of shape (n, d)
        Standardised here, and a column of ones put in front.
    positive : array of shape (n,)
        Which examples are of the positive class.
    penalty : float
    batch_size : int
        Examples of a mini-batch, drawn with replacement.
    """

    def __init__(self, features: ArrayLike, positive: ArrayLike, *, penalty: float = 0.01, batch_size: int = 8) -> None:
        features = np.asarray(features, dtype=float)
        features = (features - features.mean(axis=0)) / features.std(axis=0)
        features = np.column_stack([np.ones(len(features)), features])
        self.signed = np.where(positive, -1.0, 1.0)[:, None] * features  # -y x with y = 1 or -1
        self.penalty, self.batch_size = penalty, batch_size
        self.initial_weights = np.zeros(features.shape[1])

    def loss(self, weights: np.ndarray) -> np.ndarray:
        """The loss of all examples, shape (...,), at weights of shape (..., d + 1)."""
        logistic = np.logaddexp(0, weights @ self.signed.T).mean(axis=-1)
        return logistic + self.penalty / 2 * np.sum(weights**2, axis=-1)

    def full_gradient(self, weights: np.ndarray) -> np.ndarray:
        """Its gradient at one vector of weights, shape (d + 1,)."""
        return expit(self.signed @ weights) @ self.signed / len(self.signed) + self.penalty * weights

    def hessian(self, weights: np.ndarray) -> np.ndarray:
        """Its matrix of second derivatives, shape (d + 1, d + 1)."""
        slopes = expit(self.signed @ weights)
        curved = (self.signed * (slopes * (1 - slopes))[:, None]).T @ self.signed / len(self.signed)
        return curved + self.penalty * np.eye(len(weights))

    @cached_property
    def best_weights(self) -> np.ndarray:
        """The minimum."""
        return minimize(self.loss, self.initial_weights, jac=self.full_gradient, tol=1e-9).x

    def excess_loss(self, weights: np.ndarray) -> np.ndarray:
        """The loss minus its minimum, shape (...,)."""
        return self.loss(weights) - self.loss(self.best_weights)

    def batches(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random mini-batches as positions of examples, shape (n, batch_size)."""
        return rng.integers(len(self.signed), size=(n, self.batch_size))

    def batch_gradient(self, weights: np.ndarray, batches: np.ndarray) -> np.ndarray:
        """Gradients at weights of shape (k, d + 1), each on a mini-batch of its own."""
        x = self.signed[batches]  # (k, batch, feature)
        slopes = expit(np.einsum("kbf,kf->kb", x, weights))
        return np.einsum("kb,kbf->kf", slopes, x) / batches.shape[1] + self.penalty * weights

    def gradient(self, weights: np.ndarray, learner: int, number: int) -> np.ndarray:
        """Gradient `number` of a learner, shape (d + 1,): the two numbers are the seed of its mini-batch."""
        return self.batch_gradient(weights[None], self.batches(1, np.random.default_rng([learner, number])))[0]


class ImageClassifier:
    """A PyTorch model of images, its parameters seen as one vector.

    Parameters
    ----------
    make_model : callable
        Makes the model, such as the class `lib.inception.SmallInception`; every process makes its own.
    images : array of shape (n, channels, height, width), from 0 to 255
    labels : array of shape (n,)
        Whole numbers from 0.
    batch_size, seed : int
        Images of a mini-batch, drawn with replacement; seed of the initial weights.
    """

    def __init__(self, make_model: Callable, images: ArrayLike, labels: ArrayLike, *, batch_size: int, seed: int = 0):
        self.make_model, self.batch_size, self.seed = make_model, batch_size, seed
        self.images, self.labels = np.asarray(images, dtype=np.uint8), np.asarray(labels, dtype=np.int64)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "model"}

    @cached_property
    def model(self):
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.make_model()

    @property
    def initial_weights(self) -> np.ndarray:
        """All parameters of a new model, float64 (the model's float32 fit in without rounding)."""
        from torch.nn.utils import parameters_to_vector

        self.__dict__.pop("model", None)  # a gradient leaves its weights there
        return parameters_to_vector(self.model.parameters()).detach().double().numpy()

    def loss(self, weights: np.ndarray, batch: np.ndarray, *, gradient: bool = False):
        """Mean cross-entropy on some images, as a tensor; normalised by statistics of the batch, as in training."""
        import torch
        from torch.nn.utils import vector_to_parameters

        with torch.set_grad_enabled(gradient):
            vector_to_parameters(torch.from_numpy(weights).float(), self.model.parameters())
            images = torch.from_numpy(self.images[batch]).float() / 255
            return torch.nn.functional.cross_entropy(self.model(images), torch.from_numpy(self.labels[batch]))

    def gradient(self, weights: np.ndarray, learner: int, number: int) -> np.ndarray:
        """Gradient `number` of a learner, shape of the weights, float64."""
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums in one order, so that every process finds the same bits
        try:
            batch = np.random.default_rng([learner, number]).integers(len(self.images), size=self.batch_size)
            loss = self.loss(weights, batch, gradient=True)
            found = torch.autograd.grad(loss, list(self.model.parameters()))
            return torch.cat([part.reshape(-1) for part in found]).double().numpy()
        finally:
            torch.set_num_threads(threads)
