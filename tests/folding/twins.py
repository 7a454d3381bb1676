"""Plain-Python twins of the folding kernels: dictionaries, regular expressions, the standard library's compositions."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

from jukinet.core.folding import DATA
from jukinet.core.folding.characters import fold_character

KANJI = r"[\u3400-\u4dbf\u4e00-\u9fff\u3005\U00020000-\U0010ffff]"
BETWEEN = " ・·,、•"
DROPPED = "'.-`=。−ʼʻ゠′‧" + "".join(map(chr, range(0x2010, 0x201A)))


def fold_characters(text: str) -> str:
    """Characters one by one; kana and their marks composed as Unicode says."""
    return re.sub(
        "[\u3041-\u30fe][\u3099\u309a]",
        lambda found: unicodedata.normalize("NFC", found[0]),
        "".join(fold_character(character) for character in text),
    )


def name_parts(text: str) -> tuple[str, str]:
    parts: list[str] = [""]
    before = ""
    for character in fold_characters(text):
        if character in BETWEEN:
            if parts[-1]:
                parts.append("")
            continue
        if character in DROPPED:
            continue
        base = unicodedata.normalize("NFD", before)[0] if re.fullmatch("[ぁ-ゖァ-ヶ]", before) else before
        base = base if re.fullmatch("[ぁ-ゖァ-ヺ]", before) else ""
        if before and character == "々":
            written = before
        elif base and character in "ゝヽ":
            written = base
        elif base and character in "ゞヾ":
            together = unicodedata.normalize("NFC", base + "\u3099")
            written = together if len(together) == 1 and base not in "ワヰヱヲ" else base
        else:
            written = character
        parts[-1] += written
        before = written
    first, *others = parts
    return first, "".join(others)


def fold_name(text: str) -> str:
    return "".join(name_parts(text))


KATAKANA = {point: point + 0x60 for point in (*range(0x3041, 0x3097), 0x309D, 0x309E)}
SMALL = str.maketrans("ァィゥェォッャュョヮヵヶ", "アイウエオツヤユヨワカケ")
OLD = str.maketrans("ヂヅヰヱヲヷヸヹヺ", "ジズイエオバビベボ")
ROWS = ("アカサタナハマヤラワ", "イキシチニヒミリ", "ウクスツヌフムユル", "エケセテネヘメレ", "オコソトノホモヨロ")
VOWELS = {kana: vowel for vowel, row in zip("アイウイウ", ROWS, strict=True) for kana in row}


class NotKanaError(Exception):
    pass


def kana_exact_parts(text: str) -> tuple[str, str]:
    """Katakana, letters and digits of a reading, voicing and small kana kept."""
    parts = [""]
    if re.search("[ゟヿ]", text):
        raise NotKanaError
    marked = re.sub("[゛ﾞ]", "\u3099", re.sub("[゜ﾟ]", "\u309a", text))
    for character in unicodedata.normalize("NFKC", marked).lower().translate(KATAKANA):
        before = parts[-1][-1:] or (parts[-2][-1:] if len(parts) > 1 else "")
        if character in " \t\n\r,、=゠・·•":
            if parts[-1]:
                parts.append("")
        elif character in ".'。‘’\u200b\u200c\u200d\ufeff":
            pass
        elif character in "\u3099\u309a":
            together = unicodedata.normalize("NFC", before + character)
            if before and len(together) == 1:
                place = -1 if parts[-1] else -2
                parts[place] = parts[place][:-1] + together
        elif character in "-‐‑‒–—―−─〜~":
            if re.fullmatch("[ァ-ヺー]", before) and parts[-1]:
                parts[-1] += "ー"
        elif character in "ヽヾ":
            if re.fullmatch("[ァ-ヺ]", before):
                plain = unicodedata.normalize("NFD", before)[0]
                together = unicodedata.normalize("NFC", plain + "\u3099")
                parts[-1] += together if character == "ヾ" and len(together) == 1 else plain
        elif re.fullmatch("[ァ-ヺーa-z0-9]", character):
            parts[-1] += character
        else:
            raise NotKanaError
    return parts[0], "".join(parts[1:])


def fold_kana(text: str) -> str:
    """The folded reading from the exact one: by substitutions over the whole text."""
    exact = "".join(kana_exact_parts(text))
    exact = re.sub(
        "ヴ([ァアィイヰェエヱォオヲ])",
        lambda found: "ハヒヘホ"["アイエオ".index(found[1].translate(SMALL).translate(OLD))],
        exact,
    )
    exact = exact.replace("ヴ", "フ").translate(SMALL).translate(OLD)
    exact = "".join(unicodedata.normalize("NFD", character)[0] for character in exact)
    folded = ""
    for character in exact:
        folded += VOWELS.get(folded[-1:], "") if character == "ー" else character
    return folded


class Address(NamedTuple):
    prefecture: int
    municipality: str
    ward: int
    former: bool
    town: str
    numbers: str
    building: str


SMALL_WORDS = dict(zip("けがガの之ッつっ", "ケケケノノツツツ", strict=True))


def unify_places(text: str) -> str:
    """Section words dropped, and the small words between kanji in one form; over a folded text with its spaces."""
    text = text.replace("大字", "")
    text = text[:1] + text[1:].replace("字", "")
    written = ""
    for place, character in enumerate(text):
        between = place and re.fullmatch(KANJI, written[-1:]) and re.fullmatch(KANJI, text[place + 1 : place + 2])
        written += SMALL_WORDS.get(character, character) if between else character
    return written


@cache
def areas() -> dict[str, tuple[int, str, int, bool, int]]:
    """Every spelling of an area: prefecture, municipality, ward, former, and 1 when its name needs a town
    behind or a district before, 2 when it needs a district."""
    found: dict[str, set[tuple[int, str, int]]] = {}
    former: dict[str, set[tuple[int, str, int]]] = {}
    places: dict[str, tuple[int, str, int, bool, int]] = {}
    for name in ("areas.txt", "former_areas.txt"):
        for line in (DATA / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                continue
            if line[:2].isdigit():
                number, prefecture = int(line[:2]), line[3:]
                places[prefecture] = (number, "", 0, False, 0)
                continue
            municipality, _, others = line.partition(":")
            if name == "areas.txt":
                spellings = [(municipality, 0)]
                spellings += [(municipality + ward, place) for place, ward in enumerate(others.split(), 1)]
            else:
                spellings = [(other, 0) for other in others.split()]
            for spelling, ward in spellings:
                for text in (prefecture + spelling, spelling):
                    key = unify_places(fold_characters(text))
                    (found if name == "areas.txt" else former).setdefault(key, set()).add((number, municipality, ward))
    for key in found | former:
        meanings = found.get(key) or former[key]
        if len({municipality for _, municipality, _ in meanings}) > 1:
            continue
        prefectures = {prefecture for prefecture, _, _ in meanings}
        wards = {ward for _, _, ward in meanings}
        with_prefecture = any(key.startswith(text) and key != text for text, place in places.items() if not place[1])
        places[key] = (
            prefectures.pop() if len(prefectures) == 1 else 0,
            next(iter(meanings))[1],
            wards.pop() if len(wards) == 1 else 0,
            key not in found,
            0 if with_prefecture or not key.endswith(("町", "村")) else 1 if key in found else 2,
        )
    return places


NUMERAL = "[〇零一二三四五六七八九十百千]{1,7}"
DASH = "[-‐‑‒–—―−ー─~〜]"
COUNTER = f"(?:丁目|番地|[丁番](?!(?![零一二三四五六七八九十百千]){KANJI})|号(?![室館線棟])|地割)"


def numeral(text: str) -> int:
    total = pending = 0
    for character in text:
        if character in "十百千":
            total += (pending or 1) * {"十": 10, "百": 100, "千": 1000}[character]
            pending = 0
        else:
            pending = pending * 10 + max(0, "〇一二三四五六七八九".find(character))
    return total + pending


def find_area(text: str) -> tuple[tuple[int, str, int, bool, int], str]:
    """The longest area's name at the front, and what stands behind it."""

    def longest(prefix: str, at: str, rural: bool) -> tuple[tuple[int, str, int, bool, int] | None, str]:
        best, rest, spelling = None, at, prefix
        for place, character in enumerate(at):
            spelling += character.replace(" ", "")
            meaning = areas().get(spelling)
            if character == " " or meaning is None or (spelling == prefix):
                continue
            behind = at[place + 1 :].lstrip(" ")
            if rural and meaning[4] == 2:
                continue
            if rural and meaning[4] and (not behind or re.match(f"[0-9]|{NUMERAL}{COUNTER}|{DASH}", behind)):
                continue
            best, rest = meaning, at[place + 1 :]
        return best, rest

    best, rest = longest("", text, rural=True)
    if best is None or not best[1]:
        district = re.match("[^郡0-9]{0,7}郡", rest)
        if district:
            prefix = next((key for key, value in areas().items() if best and value == best), "")
            second, behind = longest(prefix, rest[district.end() :], rural=False)
            if second is not None:
                return second, behind
    return best or (0, "", 0, False, 0), rest


def split_address(text: str) -> Address:
    """Folding of an address, with regular expressions."""
    place, rest = find_area(unify_places(fold_characters(text)))
    town = ""
    while rest:
        number = re.match(r"0*([0-9]+)(?=[条線軒町村区])", rest)
        kanji = re.match(NUMERAL, rest)
        if number:
            town, rest = town + number[1], rest[number.end() :]
        elif rest[0].isdigit() or (kanji and re.match(COUNTER, rest[kanji.end() :])):
            break
        elif kanji:
            written = str(numeral(kanji[0])) if rest[kanji.end() : kanji.end() + 1] == "条" else kanji[0]
            town, rest = town + written, rest[kanji.end() :]
        else:
            dash = re.match(DASH, rest)
            if rest[0] == "ー" and not re.match(f"[0-9]|{NUMERAL}{COUNTER}", rest[1:]):
                dash = None
            town += "" if dash or rest[0] in " ,.、・" else rest[0]
            rest = rest[1:]
    numbers: list[str] = []
    while len(numbers) < 12:
        number = re.match("[0-9]+", rest)
        kanji = re.match(f"{NUMERAL}(?=$| |{COUNTER}|{DASH}|[のノ])", rest)
        if kanji and re.match(NUMERAL, rest[kanji.end() :]):
            kanji = None
        if number:
            numbers.append(number[0].lstrip("0") or "0")
            rest = rest[number.end() :]
        elif kanji:
            numbers.append(str(numeral(kanji[0])))
            rest = rest[kanji.end() :]
        else:
            break
        joined = False
        while True:
            counter = re.match(COUNTER, rest)
            dash = (
                re.match(f" *{DASH}|[のノ](?=[0-9〇零一二三四五六七八九十百千])", rest)
                if not joined
                else re.match(f"{DASH}|[のノ](?=[0-9〇零一二三四五六七八九十百千])", rest)
            )
            if counter:
                joined = counter[0] != "号"
                rest = rest[counter.end() :]
            elif dash:
                joined = True
                rest = rest[dash.end() :]
            elif joined and rest.startswith(" "):
                rest = rest[1:]
            else:
                break
        if not joined:
            break
    return Address(*place[:4], town, "-".join(numbers), fold_building(rest))


def fold_building(text: str) -> str:
    written = ""
    place = 0
    while place < len(text):
        character = text[place]
        place += 1
        after_digit = written[-1:].isdecimal()
        if after_digit and character == "号":
            place += text[place : place + 1] == "室"
            continue
        if after_digit and character == "階":
            character = "f"
        if re.match(DASH, character) and character != "ー":
            if not after_digit or not re.match("[0-9]", text[place : place + 1]):
                continue
            character = "-"
        if character not in " ,.、。・()'「」\"":
            written += character
    return written


def address_nearness(one: Address, other: Address) -> int:
    """The values of AddressNearness."""
    sides = (one, other)
    if any(not any((a.prefecture, a.municipality, a.town, a.numbers, a.building)) for a in sides):
        return 6
    if (one.prefecture and other.prefecture and one.prefecture != other.prefecture) or (
        one.municipality and other.municipality and one.municipality != other.municipality
    ):
        return 5
    both = bool(one.municipality and other.municipality)
    former = one.former or other.former
    if one.ward and other.ward and one.ward != other.ward:
        return 4
    less = bool(one.municipality) != bool(other.municipality) or (one.ward != other.ward and not former)
    shorter, longer = sorted((one.town, other.town), key=lambda town: len(town.encode()))
    if shorter != longer and not (former and len(shorter.encode()) >= 6 and longer.endswith(shorter)):
        return 4 if both else 5
    if one.numbers != other.numbers:
        fewer, more = sorted((one.numbers, other.numbers), key=len)
        if not fewer or not more.startswith(fewer + "-"):
            return 3 if one.town or both else 5
        return 2
    if less:
        return 2
    return 0 if one.building == other.building else 1
