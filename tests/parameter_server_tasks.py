"""What learners of the tests compute. A module of its own, for every spawned learner imports it and little else."""

from __future__ import annotations

import os
import signal
import time

import numpy as np


class Quadratic:
    """Gradient w, plus what a test asks for."""

    initial_weights = np.array([1.0, -2.0])

    def gradient(self, weights, learner, number):
        return weights


class KillsItself(Quadratic):
    """Learner 2 dies by SIGKILL in the middle of its fifth gradient."""

    def gradient(self, weights, learner, number):
        if (learner, number) == (2, 5):
            os.kill(os.getpid(), signal.SIGKILL)
        return weights


class Fails(Quadratic):
    def gradient(self, weights, learner, number):
        if (learner, number) == (1, 3):
            raise ZeroDivisionError("no batch\nis left")
        return weights


class Misshapen(Quadratic):
    def gradient(self, weights, learner, number):
        return 1.0


class Hangs(Quadratic):
    def gradient(self, weights, learner, number):
        time.sleep(3600)
