"""Kanji variants that are read as one character when names and places are compared.

Pairs of a variant and the form it is compared as: the traditional, vulgar and compatibility forms that occur in family
names and place names. Two texts that differ only by these are equal after folding, never exactly equal.
"""

from __future__ import annotations

from typing import Final

_PAIRS: Final = """
    髙=高 﨑=崎 嵜=崎 碕=崎 邉=辺 邊=辺 齋=斉 齊=斉 斎=斉 濵=浜 濱=浜 澤=沢 櫻=桜 嶋=島 嶌=島 廣=広
    國=国 惠=恵 德=徳 瀨=瀬 眞=真 壽=寿 會=会 學=学 實=実 寶=宝 榮=栄 龍=竜 藏=蔵 靜=静 佛=仏 𠮷=吉
    黑=黒 淺=浅 萬=万 與=与 圓=円 鐵=鉄 關=関 顯=顕 假=仮 禮=礼 豐=豊 冨=富 峯=峰 舘=館 槇=槙 條=条
    曾=曽 增=増 戶=戸 步=歩 淸=清 渕=淵 渊=淵 溪=渓 瀧=滝 燈=灯 爲=為 獨=独 祿=禄 稻=稲 穗=穂 總=総
    繩=縄 聲=声 莊=荘 萠=萌 薗=園 蘆=芦 處=処 號=号 衞=衛 裝=装 觀=観 譽=誉 讓=譲 貳=弐 賴=頼 轉=転
    辨=弁 遙=遥 邨=村 鄕=郷 醫=医 釋=釈 錄=録 鍊=錬 隱=隠 雜=雑 靑=青 靏=鶴 鷗=鴎 鹽=塩 麥=麦 點=点
    黃=黄 齒=歯 龜=亀 郞=郎 凞=煕 熙=煕 勳=勲 單=単 嚴=厳 圍=囲 團=団 壯=壮 奧=奥 寬=寛 將=将 專=専
    屬=属 嶽=岳 巖=巌 巢=巣 彌=弥 彥=彦 從=従 悅=悦 戀=恋 拔=抜 擴=拡 數=数 晉=晋 晝=昼 曉=暁 檜=桧
    橫=横 權=権 氣=気 涉=渉 濕=湿 濟=済 瑤=瑶 畫=画 當=当 盡=尽 礒=磯 祕=秘 竝=並 縣=県 緖=緒 臺=台
    舊=旧 藝=芸 藥=薬 虛=虚 蟲=虫 證=証 豫=予 賣=売 蹟=跡 輕=軽 遞=逓 邱=丘 驛=駅 驗=験 髮=髪 鬪=闘
    鷄=鶏 麴=麹 ヶ=ケ ヵ=カ
"""

VARIANTS: Final[dict[str, str]] = {pair[0]: pair[2] for pair in _PAIRS.split()}
"""Variant to the form it is compared as; no form is itself a variant."""
