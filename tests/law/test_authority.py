"""The authority file: what is granted, what is refused, and that refusals say where and what to do."""

from __future__ import annotations

import datetime
import hashlib
import re
import tomllib
from importlib import resources
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jukinet.core.errors import ConfigurationError, ErrorCode
from jukinet.core.law import authority_file, example_path
from jukinet.core.law.authority import Authority, Grant, NotAuthorisedError, day_in_japan
from jukinet.core.matching.columns import MatchRules
from jukinet.core.vocabulary import ALL_ITEMS, Function, Item

TODAY = datetime.date(2026, 7, 1)
SCHEDULE_1 = "9 16 19 23 26 27 30 31 38 39 40 41 42 48 51 60 63 69 72 74 77 77-2 77-5 78 97 98 101 107 109 113 121 122"
REAL_ROWS = {
    *((1, item) for item in re.split(" ", SCHEDULE_1)),
    *((5, "6"), (3, "4"), (3, "20"), (2, "8"), (4, "1")),
}

FILE = """
format = 1
title = "test"

[[body]]
role = "agency"
name = "pension"
display = "Pensions"
codes_per_second_max = 1_000
connections_max = 2

[[body.affair]]
schedule = 1
item = "77"
number = 2
title = "National pensions"
legal_basis = "Act, schedule 1"
functions = ["LOOKUP", "VERIFY"]
items = ["NAME", "ADDRESS"]
codes_per_request_max = 100
valid_from = 2026-04-01
valid_until = 2026-09-30

[[body.affair]]
schedule = 1
item = "77"
number = 2
title = "National pensions"
legal_basis = "Act, schedule 1"
functions = ["STATUS"]
items = []
valid_from = 2026-10-01

[[body]]
role = "prefecture"
name = "tokyo"
display = "東京都"

[[body.affair]]
schedule = 0
item = "1"
title = "Tax"
legal_basis = "Ordinance"
functions = ["VERIFY"]
items = ["ALL"]
valid_from = 2026-04-01
"""


def load(tmp_path: Path, text: str = FILE) -> Authority:
    path = tmp_path / "authority.toml"
    path.write_text(text)
    return Authority.load(path)


def test_the_shipped_example_holds_the_real_rows() -> None:
    authority = Authority.load(example_path())
    affairs = {(g.schedule, g.item) for b in authority.bodies.values() for p in b.grants.values() for g in p}
    assert affairs >= REAL_ROWS
    assert {schedule for schedule, _ in affairs} == {0, 1, 2, 3, 4, 5}
    pension = authority.body("agency", "japan-pension-service")
    assert pension is not None
    for item, functions in (("74", 7 + 32 + 24 + 64), ("77", 7 + 24)):
        grant = pension.grant(1, item, 0, TODAY)
        assert (grant.functions, grant.items, grant.codes_per_request_max) == (functions, ALL_ITEMS, 65_536)
    moj = authority.body("agency", "moj")
    assert moj is not None
    examination = moj.grant(1, "30", 0, TODAY)
    assert not examination.allows(Function.STATUS, 0, TODAY.toordinal())
    assert not examination.allows(Function.LOOKUP, Item.SEX, TODAY.toordinal())
    with pytest.raises(NotAuthorisedError, match="schedule 1 item 77"):
        moj.grant(1, "77", 0, TODAY)


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    authority = load(tmp_path)
    assert authority.title == "test"
    assert len(authority.digest) == 64
    body = authority.body("agency", "pension")
    assert body is not None
    assert (body.display, body.codes_per_second_max, body.connections_max) == ("Pensions", 1_000, 2)
    first = body.grant(1, "77", 2, TODAY)
    assert first.functions == Function.LOOKUP | Function.VERIFY
    assert first.items == Item.NAME | Item.ADDRESS
    assert (first.affair, first.legal_basis, first.codes_per_request_max) == (
        "National pensions",
        "Act, schedule 1",
        100,
    )
    assert first.valid_from == datetime.date(2026, 4, 1)
    assert first.valid_until == datetime.date(2026, 9, 30)
    assert first.valid_until_decimal == 20260930
    second = body.grant(1, "77", 2, datetime.date(2026, 10, 1))
    assert (second.functions, second.items, second.codes_per_request_max) == (Function.STATUS, 0, 65_536)
    assert (second.valid_until, second.valid_until_decimal) == (None, 0)
    assert authority.body("agency", "tokyo") is None
    assert authority.body("prefecture", "pension") is None
    with pytest.raises(NotAuthorisedError, match="not in force") as caught:
        body.grant(1, "77", 2, datetime.date(2026, 3, 31))
    assert caught.value.code is ErrorCode.NOT_AUTHORISED
    with pytest.raises(NotAuthorisedError, match="no authority"):
        body.grant(1, "77", 0, TODAY)


FINDING = FILE.replace('functions = ["LOOKUP", "VERIFY"]', 'functions = ["SEARCH", "MATCH"]')


def test_settings_of_search_and_match(tmp_path: Path) -> None:
    body = load(tmp_path, FINDING).body("agency", "pension")
    assert body is not None
    assert body.grant(1, "77", 2, TODAY).matching == MatchRules()
    shipped = resources.files("jukinet.core.matching").joinpath("data/parameters.json").read_bytes()
    (tmp_path / "own.json").write_bytes(shipped)
    own = (
        "matching = { prefix = true, hits_max = 9, match_threshold = 0.999, candidate_threshold = 0.25, "
        'margin_min = 0.5, parameters = "own.json" }\n'
    )
    body = load(tmp_path, FINDING.replace("valid_until = 2026-09-30\n", "valid_until = 2026-09-30\n" + own)).body(
        "agency", "pension"
    )
    assert body is not None
    assert body.grant(1, "77", 2, TODAY).matching == MatchRules(
        0.999, 0.25, 0.5, 9, True, str(tmp_path / "own.json"), hashlib.sha256(shipped).hexdigest()
    )


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("hits_max = 65", ["'hits_max'", "1 to 64"]),
        ("hits_max = 0", ["'hits_max'", "1 to 64"]),
        ("match_threshold = 1.5", ["'match_threshold'", "0.5 to 1.0"]),
        ("match_threshold = 1", ["'match_threshold'", "an integer", "a float"]),
        ("match_threshold = nan", ["'match_threshold'", "0.5 to 1.0"]),
        ("match_threshold = 0.6, candidate_threshold = 0.7", ["'candidate_threshold'", "above match_threshold"]),
        ("margin_min = -0.1", ["'margin_min'", "0.0 to 1.0"]),
        ("prefix = 1", ["'prefix'", "a boolean"]),
        ("prefixes = true", ["'prefixes'", "not known here"]),
        ('parameters = "missing.json"', ["'parameters'", "cannot be used"]),
    ],
)
def test_settings_of_search_and_match_that_cannot_be(tmp_path: Path, keys: str, words: list[str]) -> None:
    text = FINDING.replace("valid_until = 2026-09-30\n", f"valid_until = 2026-09-30\nmatching = {{ {keys} }}\n")
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    for word in ["affair[1]", *words]:
        assert word in str(caught.value)


def test_search_and_match_need_what_is_asked_by_and_their_settings_need_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="NAME or KANA, with BIRTH_DATE or ADDRESS"):
        load(tmp_path, FINDING.replace('["NAME", "ADDRESS"]', '["ADDRESS", "BIRTH_DATE"]'))
    settings_alone = FILE.replace(
        "valid_until = 2026-09-30\n", "valid_until = 2026-09-30\nmatching = { hits_max = 5 }\n"
    )
    with pytest.raises(ConfigurationError, match="which this affair does not have"):
        load(tmp_path, settings_alone)


def test_a_grant_cannot_be_changed(tmp_path: Path) -> None:
    body = load(tmp_path).body("agency", "pension")
    assert body is not None
    with pytest.raises(AttributeError):
        body.grant(1, "77", 2, TODAY).items = 255  # type: ignore[misc]


def test_a_grant_ends_between_two_requests_of_one_session(tmp_path: Path) -> None:
    body = load(tmp_path).body("agency", "pension")
    assert body is not None
    grant = body.grant(1, "77", 2, datetime.date(2026, 9, 30))
    assert grant.allows(Function.LOOKUP, Item.NAME, datetime.date(2026, 9, 30).toordinal())
    assert not grant.allows(Function.LOOKUP, Item.NAME, datetime.date(2026, 10, 1).toordinal())


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("format = 1", "format = 2", None, ["'format'", "format 1 only"]),
        ("format = 1", "", None, ["'format'", "missing"]),
        ('title = "test"', 'titel = "test"', None, ["'titel'", "not known here"]),
        ('role = "agency"', 'role = "operator"', 5, ["'role'", "agency, prefecture, municipality"]),
        ('name = "pension"', 'name = "Pension"', 5, ["body[1]", "'name'", "SAN URI"]),
        ('display = "Pensions"', 'display = ""', 5, ["'display'", "1 to 200 bytes"]),
        ("connections_max = 2", "connections_max = 0", 5, ["'connections_max'", "1 to 4,096"]),
        ("connections_max = 2", "connections_max = true", 5, ["'connections_max'", "a boolean", "an integer"]),
        ("connections_max = 2", "connection_max = 2", 5, ["'connection_max'", "mend its spelling"]),
        ("codes_per_second_max = 1_000", "codes_per_second_max = 1e3", 5, ["a float"]),
        ("schedule = 1\n", "schedule = 6\n", 12, ["body[1].affair[1]", "'schedule'", "0 to 5"]),
        ("schedule = 1\n", "schedule = 0\n", 12, ["ordinance", "prefecture and municipality", "agency"]),
        ("schedule = 1\n", "schedule = 3\n", 12, ["schedule 3 is for prefecture", "agency"]),
        ("schedule = 0\n", "schedule = 1\n", 39, ["body[2].affair[1]", "schedule 1 is for agency"]),
        ("schedule = 0\n", "schedule = 2\n", 39, ["schedule 2 is for municipality", "prefecture"]),
        ('item = "77"\n', 'item = "7"\n', 12, ["'item'", "repealed", "remove the row"]),
        ('item = "77"\n', "item = 77\n", 12, ["'item'", "an integer", "a string"]),
        ('item = "77"\n', 'item = "077"\n', 12, ["'item'", '"77-2"']),
        ("number = 2\n", "number = -1\n", 12, ["'number'", "0 to 99"]),
        ('"LOOKUP", "VERIFY"', '"LOOKUP", "LOOKUP"', 12, ["'functions'", "twice"]),
        ('"LOOKUP", "VERIFY"', '"LOOK"', 12, ["'functions'", "'LOOK'", "STATUS"]),
        ('"LOOKUP", "VERIFY"', "", 12, ["'functions'", "is empty"]),
        ('"NAME", "ADDRESS"', '"NAME", "NATIONALITY"', 12, ["'items'", "'NATIONALITY'", "BIRTH_DATE"]),
        ('"NAME", "ADDRESS"', '"ALL", "NAME"', 12, ["'items'", "twice"]),
        ('"NAME", "ADDRESS"', "1", 12, ["'items'", "holds 1"]),
        ('"NAME", "ADDRESS"', "", 12, ["'items'", "STATUS alone"]),
        ('"NAME", "ADDRESS"', '"KANA"', 12, ["'items'", "VERIFY needs"]),
        (
            "codes_per_request_max = 100",
            "codes_per_request_max = 65_537",
            12,
            ["'codes_per_request_max'", "1 to 65,536"],
        ),
        ("valid_from = 2026-04-01", 'valid_from = "2026-04-01"', 12, ["'valid_from'", "a date such as"]),
        ("valid_from = 2026-04-01", "valid_from = 2026-04-01T00:00:00", 12, ["'valid_from'", "a date with a time"]),
        ("valid_from = 2026-04-01", "", 12, ["'valid_from'", "missing"]),
        ("valid_until = 2026-09-30", "valid_until = 2026-03-31", 12, ["'valid_until'", "before valid_from"]),
        ("valid_until = 2026-09-30", "", 24, ["affair[2]", "contradictory", "body[1].affair[1]"]),
        ("valid_until = 2026-09-30", "valid_until = 2026-10-01", 24, ["contradictory", "end the earlier period"]),
        ('title = "National pensions"', 'title = "Pensions"', 24, ["affair[2]", "'title'", "contradictory"]),
        ('legal_basis = "Act, schedule 1"', "", 12, ["'legal_basis'", "missing"]),
        ('legal_basis = "Act, schedule 1"', 'legal_basis = "a\\u0007b"', 12, ["'legal_basis'", "control"]),
        ('role = "prefecture"\nname = "tokyo"', 'role = "agency"\nname = "pension"', 39, ["schedule"]),
        ("format = 1", "format = 1\nformat = 1", None, ["not valid TOML", "line 3"]),
    ],
)
def test_a_refusal_names_file_line_table_key_and_remedy(
    tmp_path: Path, old: str, new: str, line: int | None, words: list[str]
) -> None:
    assert old in FILE
    text = FILE.replace(old, new, 1)
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "authority.toml"))
    if line is not None:
        assert f", line {line}," in message
    for word in words:
        assert word in message


def test_a_duplicate_row_is_called_one(tmp_path: Path) -> None:
    row = FILE[FILE.index("[[body.affair]]") : FILE.index("[[body.affair]]", 200)]
    with pytest.raises(ConfigurationError, match="duplicate"):
        load(tmp_path, FILE.replace(row, row + row, 1))


def test_a_body_stands_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="agency pension stands twice"):
        load(tmp_path, FILE + '[[body]]\nrole = "agency"\nname = "pension"\ndisplay = "again"\n')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "format = 1",
        "format = 1\nbody = []",
        "format = 1\nbody = [1]",
        "format = 1\nbody = 1",
        'format = 1\nbody = "x"',
    ],
)
def test_a_file_without_bodies_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError):
        load(tmp_path, text)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b"\0", b"a = " + b"[" * 100_000])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "authority.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"no authority file|not valid TOML|UTF-8"):
        Authority.load(path)


def test_a_file_that_is_not_there_or_too_large_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the authority file"):
        Authority.load(tmp_path / "absent.toml")
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * (16 * 1_024 * 1_024 + 1))
    with pytest.raises(ConfigurationError, match="larger than"):
        Authority.load(path)


def test_lines_are_left_out_where_they_are_not_certain(tmp_path: Path) -> None:
    text = FILE.replace('title = "test"', 'title = """\n[[body]]\n"""').replace('"Pensions"', '""')
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert ", line" not in str(caught.value)
    assert "body[1]" in str(caught.value)


def test_the_day_is_japans() -> None:
    assert day_in_japan(datetime.datetime(2026, 3, 31, 14, 59, tzinfo=datetime.UTC)) == datetime.date(2026, 3, 31)
    assert day_in_japan(datetime.datetime(2026, 3, 31, 15, 0, tzinfo=datetime.UTC)) == datetime.date(2026, 4, 1)


# --------------------------------------------------------------------------- against a plain reading of the rows

DAYS = st.dates(datetime.date(2026, 1, 1), datetime.date(2026, 1, 20))
FUNCTIONS = ["LOOKUP", "STATUS", "VERIFY"]
ITEMS = [str(item.name) for item in Item]


@st.composite
def authority_files(draw: st.DrawFn) -> str:
    lines = ["format = 1"]
    for body in range(draw(st.integers(1, 3))):
        lines += ["[[body]]", 'role = "agency"', f'name = "b{body}"', 'display = "d"']
        for item in range(draw(st.integers(0, 2))):
            bounds = sorted(draw(st.sets(DAYS, max_size=5)))
            for first, last in zip(bounds[::2], [*bounds[1::2], None], strict=False):
                lines += ["[[body.affair]]", "schedule = 1", f'item = "{77 + item}"', f'title = "t{item}"']
                lines += ['legal_basis = "l"', f"valid_from = {first}", *([f"valid_until = {last}"] if last else [])]
                items = draw(st.one_of(st.just(["ALL"]), st.sets(st.sampled_from(ITEMS), min_size=1).map(sorted)))
                if not {"ALL", "NAME", "BIRTH_DATE", "SEX", "ADDRESS"} & set(items):
                    items.append("NAME")
                functions = sorted(draw(st.sets(st.sampled_from(FUNCTIONS), min_size=1)))
                lines += [f"items = {items}".replace("'", '"'), f"functions = {functions}".replace("'", '"')]
    return "\n".join(lines)


def plainly_allowed(text: str, body: str, item: str, function: str, items: set[str], day: datetime.date) -> bool:
    """What a person with the file in hand would say."""
    for table in tomllib.loads(text)["body"]:
        if table["name"] != body:
            continue
        for row in table.get("affair", []):
            if row["item"] == item and row["valid_from"] <= day <= row.get("valid_until", datetime.date.max):
                return function in row["functions"] and (row["items"] == ["ALL"] or items <= set(row["items"]))
    return False


@given(
    authority_files(),
    st.sampled_from(["b0", "b1", "b2"]),
    st.sampled_from(["77", "78"]),
    st.sampled_from(FUNCTIONS),
    st.sets(st.sampled_from(ITEMS)),
    DAYS,
    DAYS,
)
@settings(max_examples=150, deadline=None)
def test_a_request_is_allowed_exactly_when_the_rows_say_so(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    name: str,
    item: str,
    function: str,
    items: set[str],
    opened: datetime.date,
    later: datetime.date,
) -> None:
    """On the day of opening and on a later day of the same session."""
    path = tmp_path_factory.getbasetemp() / "property.toml"
    path.write_text(text)
    body = Authority.load(path).body("agency", name)
    grant: Grant | None = None
    if body is not None:
        try:
            grant = body.grant(1, item, 0, opened)
        except NotAuthorisedError:
            grant = None
    mask = sum(Item[word] for word in items)
    for day in (opened, later):
        allowed = grant is not None and grant.allows(Function[function], mask, day.toordinal())
        plain = plainly_allowed(text, name, item, function, items, day)
        if day == opened:
            assert allowed == plain
        elif allowed:
            assert plain, "a session never has more than the rows of the day"


@given(
    st.integers(0, 127), st.integers(0, 255), st.sampled_from(list(Function)), st.integers(0, 511), st.integers(0, 9)
)
@example(7, 255, Function.LOOKUP, 256, 5)
def test_masks_are_subsets(functions: int, items: int, function: Function, asked: int, day: int) -> None:
    grant = Grant(
        schedule=1,
        item="77",
        number=0,
        affair="a",
        legal_basis="l",
        functions=functions,
        items=items,
        codes_per_request_max=1,
        first_day=3,
        last_day=6,
    )
    plain = bool(functions & function) and set(Item(asked & 255)) <= set(Item(items)) and asked < 256 and 3 <= day <= 6
    assert grant.allows(function, asked, day) == plain
    assert not grant.allows(0, 0, 5)
    assert msgspec.structs.asdict(grant)["items"] == items


def test_the_documentation_names_every_key_and_limit() -> None:
    page = (Path(__file__).parents[2] / "docs" / "authority.md").read_text()
    known = f"format, title, role, name, display, codes_per_second_max, connections_max, {authority_file.AFFAIR_KEYS}"
    for key in known.split(", "):
        assert f"| `{key}` |" in page
    limits = (authority_file.BODIES_MAX, authority_file.AFFAIRS_PER_BODY_MAX, authority_file.CODES_PER_SECOND_MAX)
    for limit in (*limits, authority_file.CONNECTIONS_MAX, authority_file.CODES_PER_SECOND_DEFAULT):
        assert f"{limit:,}" in page
    for word in (*authority_file.FUNCTION_WORDS, *authority_file.ITEM_WORDS):
        assert f"`{word}`" in page
