"""The names of the devices of a bulk run: counted, or out of a CSV."""

import csv
from collections.abc import Iterable
from pathlib import Path

from gateway.pki.errors import PkiError
from gateway.pki.issuing import check_device_name
from gateway.pki.limits import MAX_BULK_CERTIFICATES

COLUMNS = ("device_id", "serial")
"""What the column with the names may be called; the first that is there counts."""

_SHOWN = 5


def counted(prefix: str, first: int, count: int) -> list[str]:
    """`prefix` and a number of six digits or more, from `first` on.

    Raises:
        PkiError: They cannot be device names, or there are too many.
    """
    if not 1 <= count <= MAX_BULK_CERTIFICATES:
        raise PkiError(f"a run issues 1 to {MAX_BULK_CERTIFICATES} certificates, not {count}; make several runs")
    check_device_name(f"{prefix}{first + count - 1:06}")
    return [f"{prefix}{number:06}" for number in range(first, first + count)]


def from_csv(path: Path) -> list[str]:
    """The names in a CSV's column `device_id`, or `serial`; the first line says what the columns are.

    Raises:
        PkiError: It cannot be read, or a row is no name or one that is there twice; the text names the lines.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return _names(file, str(path))
    except OSError as error:
        raise PkiError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise PkiError(f"{path} is no CSV in UTF-8 ({error})") from error


def _names(lines: Iterable[str], origin: str) -> list[str]:
    rows = csv.DictReader(lines, skipinitialspace=True)
    column = next((each for each in COLUMNS if each in (rows.fieldnames or ())), None)
    if column is None:
        raise PkiError(f"{origin} has no column {' or '.join(COLUMNS)}; its first line has to name the columns")
    found: dict[str, int] = {}
    wrong: list[str] = []
    for row in rows:
        name = (row[column] or "").strip()
        try:
            check_device_name(name)
        except PkiError as error:
            wrong.append(f"line {rows.line_num}: {error}")
            continue
        if name in found:
            wrong.append(f"line {rows.line_num}: '{name}' stands in line {found[name]} already")
        found[name] = rows.line_num
        if len(found) > MAX_BULK_CERTIFICATES:
            raise PkiError(f"{origin} has more than {MAX_BULK_CERTIFICATES} rows; split it")
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise PkiError(f"{origin}: {'; '.join(wrong[:_SHOWN])}{more}")
    if not found:
        raise PkiError(f"{origin} has no row below its first line")
    return list(found)
