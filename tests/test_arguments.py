"""One sentence for each mistake, and one exception that is both a ValueError and a TypeError."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lib.arguments import (
    ArgumentError,
    check_unmasked,
    choice,
    generator,
    real_number,
    whole_number,
    yes_or_no,
)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_kind_become_an_int(value):
    assert whole_number("n", value) == 3
    assert type(whole_number("n", value)) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, 1.5, "3", True, None, np.float64(2), math.nan])
def test_what_is_no_count_is_refused_as_either_error(value):
    for error in (ArgumentError, ValueError, TypeError):
        with pytest.raises(error, match=r"n must be a whole number of at least 1, got "):
            whole_number("n", value)


def test_a_whole_number_has_an_upper_bound_too():
    with pytest.raises(ArgumentError, match="k must be a whole number from 1 to 4, got 5"):
        whole_number("k", 5, at_most=4)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int8(1)])
def test_real_numbers_of_any_kind_become_a_float(value):
    assert type(real_number("rate", value, above=0)) is float


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "1", True, None, 1j])
def test_what_is_no_positive_number_is_refused(value):
    with pytest.raises(ArgumentError, match="rate must be a finite number above 0, got "):
        real_number("rate", value, above=0)


@pytest.mark.parametrize("value", ["c", None, 1, ["a"]])
def test_a_choice_that_is_not_offered_is_refused(value):
    with pytest.raises(ArgumentError, match="way must be one of a, b, got "):
        choice("way", value, ["a", "b"])


@pytest.mark.parametrize("value", ["no", "False", "", 0, 1, None, np.array([True])])
def test_what_is_neither_true_nor_false_is_refused(value):
    assert yes_or_no("deep", np.True_) is True
    with pytest.raises(ArgumentError, match="deep must be True or False, got "):
        yes_or_no("deep", value)


def test_masked_values_are_refused_and_a_mask_of_nothing_is_not():
    check_unmasked("x", np.ma.array([1.0, 2.0]))
    check_unmasked("x", [1.0, None])
    with pytest.raises(ArgumentError, match=r"x has masked values \(2 of them\)"):
        check_unmasked("x", np.ma.masked_less([1.0, 2.0, 3.0], 3))
    with pytest.raises(ArgumentError, match="1 of them"):
        check_unmasked("x", [[1.0, 2.0], np.ma.masked_less([1.0, 2.0], 2)])


def test_a_seed_is_as_good_as_its_generator():
    rng = np.random.default_rng(5)
    assert generator("rng", rng) is rng
    assert generator("rng", np.int64(5)).random() == np.random.default_rng(5).random()


@pytest.mark.parametrize("value", [None, -1, 0.5, True, "0", np.random.RandomState(0)])
def test_what_would_give_other_numbers_each_time_is_no_generator(value):
    with pytest.raises(
        ArgumentError, match=r"rng must be a numpy\.random\.Generator or a whole number as its seed, got "
    ):
        generator("rng", value)
