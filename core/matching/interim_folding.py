"""Plain folding until the kernels are here."""
import re
import unicodedata
from jukinet.core.index.folding import folded_name as _fn, folded_address as _fa
HI={chr(c):chr(c+0x60) for c in range(0x3041,0x3097)}
SM=str.maketrans("ァィゥェォッャュョヮヵヶ","アイウエオツヤユヨワカケ")
def _parts(t):
    t=unicodedata.normalize("NFKC",t).strip()
    a,_,b=t.partition(" ")
    return a,b.replace(" ","")
def _ke(t): return "".join(HI.get(c,c) for c in t if not c.isspace() and c!='・').lower()
def _kf(t):
    t=unicodedata.normalize("NFD",t)
    t="".join(c for c in t if c not in "\u3099\u309aー")
    return t.translate(SM)
def folded_kana_exact_parts(t):
    a,b=_parts(t); return _ke(a),_ke(b)
def folded_kana_parts(t):
    a,b=_parts(t); return _kf(_ke(a)),_kf(_ke(b))
def kana_text(t): return t
def folded_name_parts(t):
    a,b=_parts(t); return _fn(a).lower(),_fn(b).lower()
_R=re.compile(r"^(.*?)(\d[\d-]*)?(?<!\d)(\D.*)?$")
_AREA=re.compile(r"^(.*?(?:[市区町村郡])+)")
def split_address(t):
    f=_fa(t)
    m=re.match(r"^(\D*)((?:\d+-?)*)(.*)$",f)
    head,nums,b=m[1],m[2],m[3]
    a=re.match(r"^((?:東京都|北海道|(?:大阪|京都)府|...?県)?)(.{1,6}?[市区町村郡](?:.{1,4}?区)?)",head)
    return (a[2] if a else head[:4]), (head[len(a[1]):] if a else head), nums.strip('-'), b
