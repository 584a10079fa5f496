"""Tables from ARFF files, with the types that they declare and no number altered on the way.

ARFF is the format of Weka and OpenML. Its grammar is liac-arff's; but that cuts the fractions off integers, rounds
numbers to float64 and knows no dates. So it is told that all of these are strings, which it leaves alone.
"""

from __future__ import annotations

import contextlib
import re

import pandas as pd

# an attribute that is not nominal
_DECLARATION = re.compile(
    r"""^([ \t]*@attribute\s.*\s)                               # what stands before its type
        (?: (numeric | real | integer | string)
          | date (?: [ \t]+ ("[^"]*" | '[^']*' | [^\s{}]+))? )  # with a format or without
        \s*?$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_DATE_FIELDS = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}  # Java's and Python's


def read_arff(content: bytes) -> pd.DataFrame:
    """The table of an ARFF file, dense or sparse.

    Nominal columns are categorical, in the order of their declaration; numbers are int64 if all of a column are whole,
    else float64; dates are datetime64.

    Raises
    ------
    Exception
        liac-arff's; and ValueError for values that are not of their type, dates with other fields than date and time
        in digits, and what cannot be read without loss: whole numbers that float64 would round beside missing ones or
        fractions, and strings in sparse rows, which may leave them out.

    >>> read_arff(b"@relation r\\n@attribute x integer\\n@attribute y {no,yes}\\n@data\\n1.5,yes\\n?,no")
         x    y
    0  1.5  yes
    1  NaN   no
    """
    import arff  # liac-arff, which comes with openml

    header, data = re.split(r"(?im)^[ \t]*@data\b", content.decode("utf-8-sig"), maxsplit=1)
    declarations = [_DECLARATION.match(line) for line in re.findall(r"(?im)^[ \t]*@attribute\s.*$", header)]
    table = arff.loads(_DECLARATION.sub(r"\1string", header) + "@data" + data)
    columns = {}
    attributes = zip(table["attributes"], declarations, zip(*table["data"], strict=True), strict=True)
    for (name, categories), declaration, values in attributes:
        if declaration is None:
            columns[name] = pd.Categorical(values, categories, ordered=True)
            continue
        kind, date_format = declaration[2], declaration[3]
        if kind is None:
            columns[name] = _dates(name, values, date_format or "yyyy-MM-dd'T'HH:mm:ss")
        elif kind.lower() != "string":
            columns[name] = _numbers(name, values)
        elif re.search(r"(?m)^\s*\{", data):  # what a sparse row leaves out is 0, or the first category
            raise ValueError(f"its rows are sparse, and do not say what string {name!r} has where they leave it out")
        else:
            columns[name] = pd.Series(values, dtype="str")
    return pd.DataFrame(columns)


def _dates(name, values, java_format):
    try:
        # words in quotes stand for themselves, a run of one letter for a field
        fields = re.sub(
            r"'(.*?)'|([A-Za-z])\2*", lambda part: part[1] or _DATE_FIELDS[part[0]], java_format.strip("\"'")
        )
    except KeyError as field:
        raise ValueError(f"{name!r} has dates of the format {java_format}, and {field} is not understood") from None
    return pd.to_datetime(pd.Series(values), format=fields)


def _numbers(name, values):
    with contextlib.suppress(TypeError, ValueError, OverflowError):  # missing, not whole, too large
        return pd.Series([int(value) for value in values], dtype="int64")
    column = pd.Series(values, dtype="object").astype("float64")
    for value, number in zip(values, column, strict=True):
        if value is not None and value.lstrip("+-").isdecimal() and int(value) != number:
            raise ValueError(f"{name!r} has whole numbers such as {value}, which float64 would round")
    whole = ((column % 1 == 0) & (column.abs() < 2**53)).all()  # beyond, float64 has no fractions
    return column.astype("int64") if whole else column
