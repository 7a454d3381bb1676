"""The columns of a file of notifications: what each holds, how its text is read, and what to do where it cannot be.

A fault names line, column and remedy and never repeats what stands there: it may be somebody's name.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from jukinet.clients.partial_date import PartialDate
from jukinet.core.limits import UPDATE_NUMBER_MAX
from jukinet.core.notifications import Fault, Notification
from jukinet.core.vocabulary import ChangeReason, Sex, State

STATES: Final = {state.name.lower(): int(state) for state in State if state <= State.RETIRED}
REASONS: Final = {reason.name.lower(): int(reason) for reason in ChangeReason}
SEXES: Final = {
    "": 0, "男": 1, "女": 2, "m": 1, "f": 2, "male": 1, "female": 2, "not known": 0, "not_known": 0, "不明": 0,
    "not applicable": 9, "not_applicable": 9,
} | {str(int(sex)): int(sex) for sex in Sex}  # fmt: skip
CODE_DIGITS: Final = 11
TEXT_CHARACTERS_MAX: Final = 4_096
"""More than any column allows; what is longer is refused before it is looked at."""


class LineFault(NamedTuple):
    """What is wrong with one line. ``column`` is empty when it is the line as a whole."""

    line: int
    column: str
    remedy: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.column + ': ' if self.column else ''}{self.remedy}"


class FieldError(ValueError):
    """A field cannot be read; the message is the remedy."""


def _code(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) == CODE_DIGITS):
        raise FieldError("write 11 digits, leading zeros included")
    return int(text)


def _optional_code(text: str) -> int:
    return 0 if text in ("", "0") else _code(text)


@lru_cache(maxsize=4_096)
def _area(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 4 <= len(text) <= 5):
        raise FieldError("write the five digits of JIS X 0402, without its check digit")
    return int(text)


def _date_reader(remedy: str, *, whole: bool) -> Callable[[str], int]:
    @lru_cache(maxsize=65_536)
    def read(text: str) -> int:
        if text == "0" and not whole:
            return 0
        try:
            date = PartialDate.parse(text)
        except ValueError:
            raise FieldError(remedy) from None
        if whole and not date.known:
            raise FieldError(remedy)
        return date.to_decimal()

    return read


@lru_cache(maxsize=1_024)
def _reason(text: str) -> int:
    word = text.strip().lower().replace("-", "_").replace(" ", "_")
    if word.isascii() and word.isdigit() and len(word) <= 3:
        return int(word)
    if word == "":
        return 0
    if word not in REASONS:
        raise FieldError(f"write the reason's number (11 to 42) or its name: {', '.join(REASONS)}")
    return REASONS[word]


@lru_cache(maxsize=1_024)
def _state(text: str) -> int:
    word = text.strip().lower().replace("-", "_").replace(" ", "_")
    if word in ("", "0"):
        return 0
    if word in ("1", "2", "3", "4", "5"):
        return int(word)
    if word not in STATES:
        raise FieldError(f"leave it empty, or for a statement write {', '.join(STATES)} or its number")
    return STATES[word]


@lru_cache(maxsize=1_024)
def _sex(text: str) -> int:
    found = SEXES.get(text.strip().lower())
    if found is None:
        raise FieldError("write 0, 1, 2 or 9 (ISO/IEC 5218), 男, 女, male or female")
    return found


@lru_cache(maxsize=1_024)
def _update_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= UPDATE_NUMBER_MAX):
        raise FieldError(f"write a whole number from 1 to {UPDATE_NUMBER_MAX}")
    return int(text)


def _text(text: str) -> str:
    return text


READERS: Final[dict[str, Callable[[str], Any]]] = {
    "reason": _reason,
    "state": _state,
    "code": _code,
    "code_before": _optional_code,
    "code_after": _optional_code,
    "area": _area,
    "event_date": _date_reader("write a full date: 2024-04-01, 20240401 or 令和6年4月1日", whole=True),
    "update_number": _update_number,
    "birth_date": _date_reader(
        "write 1965-02-20, 1965-02, 1965, 19650200, 昭和40年2月20日, or nothing where it is unknown", whole=False
    ),
    "sex": _sex,
    "name": _text,
    "kana": _text,
    "alias": _text,
    "address": _text,
}
COLUMNS: Final = tuple(READERS)
REQUIRED: Final = ("reason", "code", "area", "event_date", "update_number")
PASSED_OVER: Final = ("sequence",)
"""Columns that may stand in a file and are not read: the outbox numbers what it is given."""

REMEDIES: Final[dict[Fault, tuple[str, str]]] = {
    Fault.UNKNOWN_REASON: ("reason", "write one of the eleven reasons of Order 30-5 (11 to 42)"),
    Fault.BAD_CODE: ("code", "the check digit is wrong: compare with the resident's own record"),
    Fault.AREA_NOT_OF_FEED: ("area", "the area lies in another prefecture: it must send this itself"),
    Fault.AREA_UNKNOWN: ("area", "the register has no such area, or its municipality is not connected: ask the centre"),
    Fault.BAD_DATE: ("event_date", "write a day of the calendar, from 1868-01-25 on and not in the future"),
    Fault.BAD_BIRTH_DATE: ("birth_date", "write a day of the calendar not after the event; unknown parts as 0"),
    Fault.BAD_SEX: ("sex", "write 0, 1, 2 or 9 (ISO/IEC 5218)"),
    Fault.BAD_TEXT: (
        "name",
        "in name, kana, alias: no control characters, not too long; a name where there is a person",
    ),
    Fault.BAD_ADDRESS: ("address", "shorten it, and take out control characters"),
    Fault.BAD_CODE_BEFORE: (
        "code_before",
        "write the code before the change, and only for a code change; of a retired code, the code_after",
    ),
    Fault.UNEXPECTED_PERSON: (
        "name",
        "a removal or a retired code carries no person: leave name, birth date, sex, address out",
    ),
    Fault.BAD_UPDATE_NUMBER: ("update_number", f"write a whole number from 1 to {UPDATE_NUMBER_MAX}"),
    Fault.BAD_STATE: ("state", "leave it empty, or for a statement write 1 to 5; it must agree with the reason"),
    Fault.NOT_ENTERED: ("code", "the municipality has not entered this resident: send the entry first"),
    Fault.NUMBER_NOT_ASCENDING: ("update_number", "a notification with this number or a higher one came before"),
    Fault.ANOTHER_PERSON: ("code", "another person is registered under this code: examine both records"),
    Fault.CODE_RETIRED: ("code", "the code was changed and names nobody any more: send under the new one"),
    Fault.CODE_EXPIRED: ("code", "the person of this code died and the record's retention is over"),
    Fault.NO_ROOM: ("code", "the register is full near this code: tell the centre, and send it again when it has room"),
}
"""For each fault the column to look at, and what to do; the same words for a line of a file and for a report."""


def read_fields(line: int, fields: Mapping[str, Any]) -> Notification | LineFault:
    """A notification from a line's texts (or numbers, dates, None), or the first column that cannot be read."""
    values: dict[str, Any] = {}
    for column, read in READERS.items():
        value = fields.get(column)
        if value is None:
            text = ""
        elif isinstance(value, str):
            text = value.strip()
        elif isinstance(value, datetime.date):
            text = value.isoformat()[:10]
        elif isinstance(value, int) and not isinstance(value, bool):
            text = f"{value:011}" if column.startswith("code") and value else str(value)
        else:
            return LineFault(line, column, "write a text or a whole number")
        if len(text) > TEXT_CHARACTERS_MAX:
            return LineFault(line, column, "far too long: is a quotation mark missing?")
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            return LineFault(line, column, "not in the encoding that was given: see --encoding")
        try:
            values[column] = read(text)
        except FieldError as error:
            return LineFault(line, column, str(error) if text else f"is missing; {error}")
    if values["reason"] == 0 and not values["state"]:
        return LineFault(line, "reason", "is missing; write the reason's number or name")
    fault = _codes_of_change(line, values)
    return fault if fault is not None else Notification(**values)


def _codes_of_change(line: int, values: dict[str, Any]) -> LineFault | None:
    """Take ``code_after`` out of the values: of a retired code it goes where a code change has the code before."""
    after = values.pop("code_after")
    if values["state"] != State.RETIRED:
        return LineFault(line, "code_after", "leave it empty unless the state is retired") if after else None
    if values["code_before"]:
        return LineFault(line, "code_before", "leave it empty where the state is retired: code is the code before")
    if not after:
        return LineFault(line, "code_after", "is missing; write the code that followed the retired one")
    values["code_before"] = after
    return None


def fault_of_line(line: int, fault: int) -> LineFault:
    """What `faults_of` found, in words."""
    return LineFault(line, *REMEDIES[Fault(fault)])
