"""Files of devices, a row at a time: CSV with a head line, or JSON lines.

    device_id,tenant,psk_identity,psk_hex,tags
    meter-1,default,meter-1,6d7573746265646966666572656e7421,floor-1 building-7

`tenant` and `tags` may be missing. What a row holds is not shown in any error: it may be a key in the wrong column.
"""

import csv
import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

from gateway.registry.errors import InvalidValue
from gateway.registry.importing import ImportRow, Result, RowResult
from gateway.registry.limits import MAX_DEVICE_ID_CHARACTERS, MAX_IMPORT_LINE_BYTES

_NEEDED: Final = ("device_id", "psk_identity", "psk_hex")
_COLUMNS: Final = ("device_id", "tenant", "psk_identity", "psk_hex", "tags")
_REPORT: Final = ("line", "device_id", "tenant", "result", "reason")


class FileFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


_SUFFIXES: Final = {".csv": FileFormat.CSV, ".jsonl": FileFormat.JSONL, ".ndjson": FileFormat.JSONL}


def format_of(path: Path) -> FileFormat:
    """What a file is, by its name.

    Raises:
        InvalidValue: That cannot be told.
    """
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise InvalidValue(f"{path} ends in none of {', '.join(_SUFFIXES)}; say --format csv or --format jsonl")
    return found


def read_rows(
    file: BinaryIO, format: FileFormat, default_tenant: str, progress: Callable[[int], None] = lambda read: None
) -> Iterator[ImportRow | RowResult]:
    """The rows of a file, and in place of those that cannot be read why they are refused.

    Args:
        file: Open at its beginning.
        format: What it is.
        default_tenant: The tenant of rows that name none.
        progress: Told how many bytes were read so far.

    Raises:
        InvalidValue: The file as a whole is not what it should be.
    """
    lines = _lines(file, progress)
    yield from (_csv_rows if format is FileFormat.CSV else _json_rows)(lines, default_tenant)


class Report:
    """A CSV file with a line for each result that is worth one; made with the first."""

    def __init__(self, path: Path, *, all_rows: bool) -> None:
        """Removes what an earlier run has left there.

        Args:
            path: The file.
            all_rows: Take all results, not only those that were refused.
        """
        self.path = path
        self.written = 0
        self._all = all_rows
        self._file: TextIO | None = None
        path.unlink(missing_ok=True)

    def add(self, result: RowResult) -> None:
        if not self._all and result.result is not Result.REFUSED:
            return
        if self._file is None:
            self._file = self.path.open("x", encoding="utf-8", newline="", errors="backslashreplace")
            csv.writer(self._file).writerow(_REPORT)
        self.written += 1
        csv.writer(self._file).writerow(
            (result.line, result.device_id, result.tenant_id, result.result.value, result.reason)
        )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _lines(file: BinaryIO, progress: Callable[[int], None]) -> Iterator[str]:
    read = 0
    while line := file.readline(MAX_IMPORT_LINE_BYTES + 1):
        read += len(line)
        if len(line) > MAX_IMPORT_LINE_BYTES:
            raise InvalidValue(f"the file has a line above {MAX_IMPORT_LINE_BYTES} bytes; it is no list of devices")
        progress(read)
        text = line.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if read == len(line) else text


def _csv_rows(lines: Iterator[str], default_tenant: str) -> Iterator[ImportRow | RowResult]:
    reader = csv.reader(lines, strict=True)
    try:
        head = [name.strip() for name in next(reader, [])]
        _check_head(head)
        for values in reader:
            if not values:
                continue
            line = reader.line_num
            if len(values) != len(head):
                yield _refused(line, {}, f"the row has {len(values)} values, the head line {len(head)}")
                continue
            fields: dict[str, Any] = dict(zip(head, values, strict=True))
            if "tags" in fields:
                fields["tags"] = fields["tags"].replace(";", " ").replace(",", " ").split()
            yield _row(line, fields, default_tenant)
    except csv.Error as error:
        # What comes after an open quote cannot be told apart any more.
        raise InvalidValue(f"line {reader.line_num}: not CSV: {error}") from None


def _json_rows(lines: Iterator[str], default_tenant: str) -> Iterator[ImportRow | RowResult]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            yield _refused(number, {}, "the line is not JSON")
            continue
        if not isinstance(fields, dict):
            yield _refused(number, {}, "the line is not a JSON object")
            continue
        unknown = [name for name in fields if name not in _COLUMNS]
        if unknown:
            yield _refused(number, fields, f"there is no field {unknown[0][:64]!r}; there are: {', '.join(_COLUMNS)}")
            continue
        if isinstance(fields.get("tags"), str):
            fields["tags"] = fields["tags"].split()
        yield _row(number, fields, default_tenant)


def _check_head(head: list[str]) -> None:
    missing = [name for name in _NEEDED if name not in head]
    if missing:
        raise InvalidValue(
            f"the first line must name the columns, and {missing[0]!r} is not among them; there are: "
            + ", ".join(_COLUMNS)
        )
    for name in head:
        # Without its text: a file without a head line has a key there.
        if name not in _COLUMNS:
            raise InvalidValue(f"column {head.index(name) + 1} has a name that is none of: {', '.join(_COLUMNS)}")
        if head.count(name) > 1:
            raise InvalidValue(f"the column {name!r} is there twice")


def _row(line: int, fields: dict[str, Any], default_tenant: str) -> ImportRow | RowResult:
    for name in _NEEDED:
        if not isinstance(fields.get(name), str) or not fields[name]:
            return _refused(line, fields, f"{name} is missing")
    tenant, tags = fields.get("tenant"), fields.get("tags")
    if tenant is None or tenant == "":
        tenant = default_tenant
    if not isinstance(tenant, str):
        return _refused(line, fields, "tenant is not a text")
    if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        return _refused(line, fields, "tags is not a list of texts")
    try:
        identity = fields["psk_identity"].encode("utf-8", "surrogateescape")
        tenant.encode()
        fields["device_id"].encode()
    except UnicodeEncodeError:
        return _refused(line, fields, "a name is not valid text")
    try:
        key = bytes.fromhex(fields["psk_hex"])
    except ValueError:
        return _refused(line, fields, "psk_hex is not hex (two digits a byte)")
    return ImportRow(line, fields["device_id"], tenant, identity, key, None if tags is None else tuple(tags))


def _refused(line: int, fields: dict[str, Any], reason: str) -> RowResult:
    names = (fields.get("device_id"), fields.get("tenant"))
    device_id, tenant = (name[:MAX_DEVICE_ID_CHARACTERS] if isinstance(name, str) else "" for name in names)
    return RowResult(line, device_id, tenant, Result.REFUSED, reason)
