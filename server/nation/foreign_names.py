"""Names of foreign residents by origin, in the Latin capitals of a residence card, with their readings.

Each list runs from common to less common; weights fall with the rank. Shares of origins are rounded from what is
commonly known of foreign residents in Japan. Each word is ``LATIN:kana``; words of one name are joined by ``_``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from jukinet.server.nation.surnames import Name


class Origin(msgspec.Struct, frozen=True):
    """Where a foreign household comes from, and the names given there. All shares are per thousand."""

    name: str
    share: int
    alias: int
    """Households whose members registered an alias (通称)."""
    two_given: int
    """People with two given names."""
    families: str
    male: str
    female: str


ORIGINS: Final = (
    Origin(
        "China", 250, 90, 0,
        "WANG:ワン LI:リ ZHANG:チャン LIU:リュウ CHEN:チェン YANG:ヤン HUANG:ファン ZHAO:チャオ WU:ウー "
        "ZHOU:チョウ XU:シュ SUN:スン MA:マ ZHU:チュ HU:フ GUO:グオ HE:ホ LIN:リン GAO:ガオ LUO:ルオ "
        "ZHENG:チェン LIANG:リャン XIE:シエ SONG:ソン TANG:タン JIN:ジン HAN:ハン FENG:フォン DENG:ドン "
        "CAO:ツァオ",
        "WEI:ウェイ QIANG:チャン LEI:レイ JUN:ジュン YONG:ヨン JIE:ジエ TAO:タオ CHAO:チャオ PENG:ポン "
        "HAO:ハオ BO:ボー JIANGUO:ジエングオ HAORAN:ハオラン ZIHAO:ズーハオ YUXUAN:ユーシュエン "
        "XIAOMING:シャオミン ZHIQIANG:チーチャン MINGHUI:ミンフイ",
        "FANG:ファン NA:ナ MIN:ミン JING:ジン LI:リ YAN:イェン JUAN:ジュエン XIA:シャ XIULAN:シウラン "
        "XIAOYAN:シャオイェン TINGTING:ティンティン YUTONG:ユートン ZIHAN:ズーハン XINYI:シンイー "
        "MEILING:メイリン LIHUA:リーファ HONGMEI:ホンメイ YING:イン",
    ),
    Origin(
        "Viet Nam", 200, 10, 1000,
        "NGUYEN:グエン TRAN:チャン LE:レ PHAM:ファム HOANG:ホアン HUYNH:フイン PHAN:ファン VU:ヴ VO:ヴォ "
        "DANG:ダン BUI:ブイ DO:ド HO:ホ NGO:ゴ DUONG:ズオン LY:リ DINH:ディン TRINH:チン",
        "VAN:ヴァン DUC:ドゥック MINH:ミン ANH:アイン TUAN:トゥアン HUNG:フン QUANG:クアン HIEU:ヒエウ "
        "NAM:ナム THANH:タイン DUNG:ズン LONG:ロン HAI:ハイ TUNG:トゥン KIEN:キエン SON:ソン PHONG:フォン",
        "THI:ティ LAN:ラン HUONG:フオン LINH:リン TRANG:チャン THAO:タオ HOA:ホア MAI:マイ NGOC:ゴック "
        "HANG:ハン THU:トゥ PHUONG:フオン YEN:イェン NHUNG:ニュン HIEN:ヒエン HA:ハ VY:ヴィ",
    ),
    Origin(
        "Korea", 150, 550, 0,
        "KIM:キム LEE:イ PARK:パク CHOI:チェ JUNG:チョン KANG:カン CHO:チョ YOON:ユン JANG:チャン LIM:イム "
        "HAN:ハン OH:オ SEO:ソ SHIN:シン KWON:クォン HWANG:ファン AN:アン SONG:ソン YOO:ユ HONG:ホン",
        "MINJUN:ミンジュン SEOJUN:ソジュン JIHOON:ジフン SUNGHO:ソンホ YOUNGSOO:ヨンス JAEHYUN:ジェヒョン "
        "DONGHYUN:ドンヒョン JUNHO:ジュノ SANGWOO:サンウ KYUNGSOO:キョンス HYUNWOO:ヒョヌ TAEYANG:テヤン "
        "SEUNGMIN:スンミン WOOJIN:ウジン",
        "SEOYEON:ソヨン JIWOO:ジウ MINJI:ミンジ SOOJIN:スジン YOUNGHEE:ヨンヒ EUNJI:ウンジ HYEJIN:ヘジン "
        "JIYOUNG:ジヨン SUNHEE:スンヒ MIKYUNG:ミギョン YUNA:ユナ HAEUN:ハウン BORA:ボラ DAEUN:ダウン",
    ),
    Origin(
        "Philippines", 100, 30, 300,
        "SANTOS:サントス REYES:レイェス CRUZ:クルズ BAUTISTA:バウティスタ GARCIA:ガルシア MENDOZA:メンドーザ "
        "TORRES:トーレス FLORES:フローレス RAMOS:ラモス GONZALES:ゴンザレス AQUINO:アキノ CASTRO:カストロ "
        "DELA_CRUZ:デラ_クルズ RIVERA:リベラ VILLANUEVA:ビリャヌエバ",
        "JOSE:ホセ JUAN:フアン MARK:マーク JOHN:ジョン ANGELO:アンジェロ CARLO:カルロ RAMON:ラモン "
        "ROMEO:ロメオ CHRISTIAN:クリスチャン RYAN:ライアン DANILO:ダニロ ERIC:エリック",
        "MARIA:マリア ANGELICA:アンジェリカ CRISTINA:クリスティーナ ROSE:ローズ GRACE:グレース "
        "JENNIFER:ジェニファー LOURDES:ルルデス MARICEL:マリセル ANA:アナ JOY:ジョイ IMELDA:イメルダ "
        "CECILIA:セシリア",
    ),
    Origin(
        "Brazil", 75, 100, 250,
        "SILVA:シルバ SANTOS:サントス OLIVEIRA:オリベイラ SOUZA:ソウザ TANAKA:タナカ SATO:サトウ "
        "SUZUKI:スズキ PEREIRA:ペレイラ FERREIRA:フェレイラ COSTA:コスタ RODRIGUES:ロドリゲス "
        "NAKAMURA:ナカムラ ALMEIDA:アルメイダ LIMA:リマ YAMADA:ヤマダ DOS_SANTOS:ドス_サントス",
        "JOAO:ジョアン CARLOS:カルロス PEDRO:ペドロ LUCAS:ルーカス GABRIEL:ガブリエル RAFAEL:ハファエル "
        "PAULO:パウロ MARCOS:マルコス ANDRE:アンドレ FELIPE:フェリペ ROBERTO:ロベルト EDUARDO:エドゥアルド",
        "MARIA:マリア ANA:アナ JULIANA:ジュリアナ PATRICIA:パトリシア FERNANDA:フェルナンダ CAMILA:カミラ "
        "LUCIANA:ルシアナ BEATRIZ:ベアトリス LARISSA:ラリッサ AMANDA:アマンダ SANDRA:サンドラ "
        "CRISTIANE:クリスチアネ",
    ),
    Origin(
        "Nepal", 65, 5, 150,
        "GURUNG:グルン TAMANG:タマン THAPA:タパ SHRESTHA:シュレスタ RAI:ライ MAGAR:マガル KARKI:カルキ "
        "ADHIKARI:アディカリ BASNET:バスネット KHADKA:カドカ POUDEL:ポウデル BHANDARI:バンダリ "
        "SHARMA:シャルマ LAMA:ラマ K_C:ケー_シー",
        "BIKASH:ビカス SURESH:スレス RAJESH:ラジェス PRAKASH:プラカス DIPAK:ディパク SANTOSH:サントス "
        "RAM:ラム KRISHNA:クリシュナ BAHADUR:バハドゥル KUMAR:クマル NABIN:ナビン ANIL:アニル",
        "SITA:シタ GITA:ギタ SUNITA:スニタ ANITA:アニタ SARITA:サリタ PUJA:プジャ SABINA:サビナ MAYA:マヤ "
        "KUMARI:クマリ LAXMI:ラクシュミ RITA:リタ BINITA:ビニタ",
    ),
    Origin(
        "Indonesia", 45, 5, 350,
        "WIJAYA:ウィジャヤ SAPUTRA:サプトラ PRATAMA:プラタマ SETIAWAN:セティアワン HIDAYAT:ヒダヤット "
        "NUGROHO:ヌグロホ SANTOSO:サントソ SUSANTO:スサント KURNIAWAN:クルニアワン RAMADHAN:ラマダン "
        "SARI:サリ LESTARI:レスタリ PUTRI:プトリ RAHAYU:ラハユ",
        "AHMAD:アフマド BUDI:ブディ AGUS:アグス ANDI:アンディ DEDI:デディ RIZKY:リズキ FAJAR:ファジャル "
        "EKO:エコ ADI:アディ MUHAMMAD:ムハンマド YUSUF:ユスフ DIMAS:ディマス",
        "SITI:シティ DEWI:デウィ SRI:スリ NUR:ヌル AYU:アユ RINA:リナ INDAH:インダ WULAN:ウラン RATNA:ラトナ "
        "FITRI:フィトリ MEGA:メガ INTAN:インタン",
    ),
    Origin(
        "Myanmar", 35, 5, 900,
        "AUNG:アウン KYAW:チョウ ZAW:ゾウ THAN:タン WIN:ウィン HTUN:トゥン MYINT:ミン KHIN:キン SAN:サン "
        "MOE:モー THEIN:テイン NAING:ナイン",
        "KO:コー LIN:リン HTET:テッ MIN:ミン THU:トゥ PHYO:ピョー YE:イェ SOE:ソー OO:ウー TUN:トゥン "
        "KHANT:カン",
        "MAR:マー SU:スー NWE:ヌエ EI:エイ HLAING:フライン THIDA:ティダ PHYU:ピュー WAI:ワイ MAY:メイ "
        "HNIN:ニン CHO:チョー",
    ),
    Origin(
        "United States and other English-speaking", 45, 5, 550,
        "SMITH:スミス JOHNSON:ジョンソン WILLIAMS:ウィリアムズ BROWN:ブラウン JONES:ジョーンズ MILLER:ミラー "
        "DAVIS:デイビス WILSON:ウィルソン ANDERSON:アンダーソン TAYLOR:テイラー MOORE:ムーア "
        "MARTIN:マーティン CLARK:クラーク WALKER:ウォーカー O'BRIEN:オブライエン",
        "JAMES:ジェームズ JOHN:ジョン ROBERT:ロバート MICHAEL:マイケル WILLIAM:ウィリアム DAVID:デイビッド "
        "THOMAS:トーマス DANIEL:ダニエル MATTHEW:マシュー ANDREW:アンドリュー PAUL:ポール "
        "STEVEN:スティーブン",
        "MARY:メアリー JENNIFER:ジェニファー ELIZABETH:エリザベス LINDA:リンダ SARAH:サラ JESSICA:ジェシカ "
        "EMILY:エミリー LAURA:ローラ AMY:エイミー KATHERINE:キャサリン ANNE:アン RACHEL:レイチェル",
    ),
    Origin(
        "India and Sri Lanka", 35, 5, 300,
        "KUMAR:クマール SINGH:シン SHARMA:シャルマ PATEL:パテル GUPTA:グプタ PERERA:ペレラ "
        "FERNANDO:フェルナンド SILVA:シルワ REDDY:レッディ DAS:ダス KHAN:カーン BANDARA:バンダーラ "
        "NAIR:ナイール JAYASINGHE:ジャヤシンハ",
        "RAJ:ラージ AMIT:アミット SANJAY:サンジャイ ARUN:アルン VIJAY:ヴィジャイ RAHUL:ラーフル NUWAN:ヌワン "
        "CHAMINDA:チャミンダ SUNIL:スニル ANAND:アナンド DEEPAK:ディーパク ROHAN:ローハン",
        "PRIYA:プリヤ ANJALI:アンジャリ SUNITA:スニタ KAVITA:カヴィタ DILANI:ディラニ NADEESHA:ナディーシャ "
        "POOJA:プージャ LAKSHMI:ラクシュミー MEENA:ミーナ SANDHYA:サンディヤ NEHA:ネーハ RADHA:ラーダー",
    ),
)  # fmt: skip


def ranked(words: str) -> list[Name]:
    """Names of one list; weight falls as 1 / (rank + 3)."""
    names = []
    for place, word in enumerate(words.split()):
        text, kana = word.split(":")
        names.append(Name(text.replace("_", " "), kana.replace("_", " "), 1_000_000 // (place + 3)))
    return names
