"""A disclosure to a resident as one HTML file, self-contained, A4, in Japanese; and the words that it is told in."""

from __future__ import annotations

import datetime
from html import escape
from typing import Final

from jukinet.core.audit.disclosure import Disclosure, Provision
from jukinet.core.audit.ledger import JAPAN
from jukinet.core.codes import format_code
from jukinet.core.vocabulary import Function, Item, Outcome
from jukinet.server.names_in_law import NamesInLaw

SOURCE: Final = "全国サーバ"
FUNCTIONS: Final = {
    Function.LOOKUP: "本人確認情報の提供",
    Function.STATUS: "異動の有無の確認",
    Function.VERIFY: "照合",
    Function.SEARCH: "検索",
    Function.MATCH: "名寄せ",
    Function.HISTORY: "変更履歴の提供",
    Function.COHORT: "登録者の異動の通知",
}
ITEMS: Final = {
    Item.NAME: "氏名",
    Item.KANA: "フリガナ",
    Item.ALIAS: "通称",
    Item.BIRTH_DATE: "生年月日",
    Item.SEX: "性別",
    Item.ADDRESS: "住所",
    Item.CHANGE: "変更情報",
    Item.CODE: "住民票コード",
}
OUTCOMES: Final = {
    Outcome.CURRENT: "現存",
    Outcome.CHANGED: "異動あり",
    Outcome.DEAD: "死亡",
    Outcome.MOVED_AWAY: "転出",
    Outcome.REMOVED: "職権消除等",
    Outcome.CODE_CHANGED: "コード変更",
    Outcome.EXPIRED: "保存期間満了",
    Outcome.NOT_CONNECTED: "情報なし（未接続）",
    Outcome.UNKNOWN: "該当者なし",
    Outcome.BAD_CHECK_DIGIT: "コード誤り",
    Outcome.MALFORMED: "コード誤り",
}
HAS_RECORD: Final = (Outcome.CURRENT, Outcome.CHANGED, Outcome.DEAD, Outcome.MOVED_AWAY, Outcome.REMOVED)
"""Outcomes with which something of a person is provided."""
OF_CODE_CHANGE: Final = Item.CHANGE | Item.CODE
"""What a LOOKUP provides of a code that was changed: when, and the new code (docs/protocol.md, 3.3)."""
HEAD: Final = """\
<!DOCTYPE html>
<html lang="ja">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="robots" content="noindex">
<title>本人確認情報提供状況開示書</title>
<style>
@page { size: A4 landscape; margin: 15mm; }
body { font-family: "Noto Serif CJK JP", "IPAmjMincho", "Yu Mincho", serif; font-size: 10pt; margin: 0; }
h1 { font-size: 16pt; text-align: center; letter-spacing: 0.3em; }
table { border-collapse: collapse; width: 100%; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
th, td { border: 0.5pt solid #000; padding: 1.5mm; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: normal; background: #eee; white-space: nowrap; }
td:first-child, td:nth-child(7) { word-break: keep-all; overflow-wrap: normal; }
p.none { font-size: 14pt; text-align: center; margin: 20mm 0; }
p.note, pre { font-size: 8pt; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
@media screen { body { max-width: 260mm; margin: 10mm auto; } }
</style>
</head>
<body>
<h1>本人確認情報提供状況開示書</h1>
"""
COLUMNS: Final = ("提供年月日", "機能", "提供先", "事務", "利用目的", "提供した項目", "結果", "提供元", "記録番号")
NONE: Final = "開示の対象となる記録は存在しません。"
NOTE: Final = (
    "「記録番号」は利用記録の番号です。（未封印）とあるものを除き、各記録が改ざんされていないことは、"
    "電子データとして交付する開示書と公開鍵により、公開された手順で確認することができます。"
)


def moment(time_ns: int) -> str:
    """A time in Japan."""
    there = datetime.datetime.fromtimestamp(time_ns // 1_000_000_000, JAPAN)
    return f"{there.year}年{there.month}月{there.day}日 {there:%H:%M:%S}"


def items(provision: Provision) -> str:
    """What was provided, or what was compared."""
    shown = provision.items
    if provision.outcome == Outcome.CODE_CHANGED:
        if provision.function != Function.HISTORY:  # which tells of what stood under the code before
            shown = shown & OF_CODE_CHANGE if provision.function == Function.LOOKUP else 0
    elif provision.outcome not in HAS_RECORD:
        return "（提供なし）"
    names = "・".join(name for item, name in ITEMS.items() if shown & item)
    if provision.function == Function.VERIFY and shown:
        return f"（一致・不一致のみ）{names}"
    return names or "（異動の有無のみ）"


def function(provision: Provision) -> str:
    return next((name for one, name in FUNCTIONS.items() if provision.function == one), str(provision.function))


def outcome(provision: Provision) -> str:
    return next((name for one, name in OUTCOMES.items() if provision.outcome == one), str(provision.outcome))


def cells(provision: Provision, names: NamesInLaw) -> tuple[str, ...]:
    """A row of the table, in the order of COLUMNS."""
    number = f"{provision.worker}-{provision.sequence}-{provision.row + 1}"
    return (
        moment(provision.time_ns),
        function(provision),
        names.recipient(provision.role, provision.body),
        names.affair(provision.role, provision.body, provision.schedule, provision.item, provision.number),
        provision.reason,
        items(provision),
        outcome(provision),
        SOURCE,
        number if provision.proof is not None else f"{number}（未封印）",
    )


def document(answer: Disclosure, names: NamesInLaw) -> str:
    """The whole file. Everything that came from outside is escaped."""
    codes = "、".join(format_code(code) for code in answer.codes)
    head = f"<p>住民票コード：{escape(codes)}　作成日時：{moment(answer.made_ns)}</p>\n"
    if answer.provisions:
        titles = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in cells(one, names)) + "</tr>\n"
            for one in answer.provisions
        )
        body = f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
        body += f'<p class="note">{NOTE}</p>\n'
    else:
        body = f'<p class="none">{NONE}</p>\n'
    note = f"<pre>{escape(answer.checkpoint)}</pre>\n" if answer.checkpoint else ""
    return HEAD + head + body + note + "</body>\n</html>\n"
