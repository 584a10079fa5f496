"""ARFF files are read with the types that they declare, no number altered, or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lib.arff import read_arff


def arff(*attributes: str, rows: str) -> bytes:
    return "\n".join(["@relation r", *(f"@attribute {attribute}" for attribute in attributes), "@data", rows]).encode()


DATE = pd.Timestamp(2001, 4, 3, 12, 30, 5)


@pytest.mark.parametrize(
    ("declared", "written", "expected"),
    [
        ("date", "2001-04-03T12:30:05", DATE),
        ('date "yyyy-MM-dd HH:mm:ss"', "'2001-04-03 12:30:05'", DATE),
        ("DATE dd/MM/yyyy", "03/04/2001", DATE.normalize()),
        ("date 'MM-dd-yyyy'", "04-03-2001", DATE.normalize()),
        ("date \"yyyyMMdd'at'HHmm\"", "20010403at1230", DATE.floor("min")),
    ],
)
def test_dates_are_read_in_their_own_format(declared: str, written: str, expected: pd.Timestamp) -> None:
    table = read_arff(arff(f"day {declared}", "x real", rows=f"{written},1\n?,2"))
    assert table["day"].tolist() == [expected, pd.NaT]
    assert table["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("declared", "written", "message"),
    [
        ("date yy-MM-dd", "01-04-03", "'day' has dates of the format yy-MM-dd, and 'yy' is not understood"),
        ("date yyyy-MM-dd", "2001-13-03", "2001-13-03"),
        ("date yyyy-MM-dd", "03.04.2001", "03.04.2001"),
    ],
)
def test_dates_that_could_be_taken_for_others_are_refused(declared: str, written: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_arff(arff(f"day {declared}", rows=written))


def test_words_for_types_in_names_and_categories_declare_nothing() -> None:
    names = ["the date of birth", "a real date", "int integer", "date", "real"]
    types = ["string", "real", "integer", "string", "{date, real }"]
    table = read_arff(arff(*(f"'{n}' {t}" for n, t in zip(names, types, strict=True)), rows="x,1.5,2,2001,date"))
    assert list(table) == names
    assert table.iloc[0].tolist() == ["x", 1.5, 2, "2001", "date"]


@pytest.mark.parametrize("kind", ["integer", "INTEGER", "numeric", "real"])
def test_fractions_are_not_cut_off(kind: str) -> None:
    table = read_arff(arff(f"x {kind}", "y real", rows="1.5,1.25\nnan,2\n-0.5,3"))
    np.testing.assert_array_equal(table["x"], [1.5, np.nan, -0.5])
    assert table["y"].tolist() == [1.25, 2, 3]


@pytest.mark.parametrize("kind", ["integer", "real"])
def test_large_whole_numbers_stay_apart_or_are_refused(kind: str) -> None:
    large = [2**53, 2**53 + 1, -(2**63), 2**63 - 1]
    assert read_arff(arff(f"x {kind}", rows="\n".join(map(str, large))))["x"].tolist() == large
    for other in ("?", "0.5", "18446744073709551615"):
        with pytest.raises(ValueError, match=r"'x' has whole numbers such as .*, which float64 would round"):
            read_arff(arff(f"x {kind}", rows=f"9007199254740993\n{other}"))
    assert read_arff(arff(f"x {kind}", rows="9007199254740992\n1e300"))["x"].tolist() == [2.0**53, 1e300]


@pytest.mark.parametrize("first", ["", "% a comment\n\n"])
def test_sparse_rows_are_filled_with_zeros_and_first_categories(first: str) -> None:
    rows = first + "{0 1.5, 2 b}\n{1 silver}\n{ }\n{0 ?}"
    table = read_arff(arff("x real", "metal {copper,silver}", "class {a,b}", rows=rows))
    np.testing.assert_array_equal(table["x"], [1.5, 0, 0, np.nan])
    assert table["metal"].tolist() == ["copper", "silver", "copper", "copper"]
    assert table["class"].tolist() == ["b", "a", "a", "a"]


@pytest.mark.parametrize("kind", ["string", "date yyyy"])
def test_sparse_rows_do_not_say_what_strings_and_dates_they_leave_out(kind: str) -> None:
    with pytest.raises(ValueError, match=r"sparse|doesn't match format"):
        read_arff(arff(f"x {kind}", "y real", rows="{0 2001, 1 2}\n{1 3}"))


def test_files_with_a_byte_order_mark_and_of_other_systems_are_read() -> None:
    content = arff("x integer", "class {a,b}", rows="1.5,a\n2,b").replace(b"\n", b"\r\n")
    for table in (read_arff(content), read_arff(b"\xef\xbb\xbf" + content)):
        assert table["x"].tolist() == [1.5, 2]
        assert table["class"].tolist() == ["a", "b"]


@pytest.mark.parametrize("rows", ["1", "1,a,{5}", "one,a", "'1,5',a", "0x10,a", "1,c", "1,a,b"])
def test_what_is_not_of_its_type_or_place_is_refused(rows: str) -> None:
    with pytest.raises(Exception, match=r"(?i)bad|invalid|convert|not found"):
        read_arff(arff("x real", "class {a,b}", rows=rows))
