"""Alphabets of languages, to judge in which code page a text makes sense."""

from __future__ import annotations

_LATIN = {
    "German": "üäößéà",
    "French": "éèàêçôîûïùëâœæÿ",
    "Spanish": "óíáéñúüªº",
    "Portuguese": "ãçáéõíóêâúàôªº",
    "Italian": "àèùòéìîº",
    "Catalan": "àéóèíòçúïü",
    "Dutch": "ëéïèöüóáêç",
    "Danish": "øåæéö",
    "Norwegian": "åøæéòóêô",
    "Swedish": "äåöéàü",
    "Finnish": "äöåšž",
    "Icelandic": "ðíáóþæöúéý",
    "Polish": "łóążęśćńź",
    "Czech": "íáěéýčšžřůúóťďň",
    "Slovak": "áíčéžýšúľťôňóďäĺŕ",
    "Hungarian": "áéöóőüíúű",
    "Slovenian": "čšžćđ",
    "Croatian": "čšžćđ",
    "Romanian": "ăîșțâşţ",
    "Turkish": "ıişğüçöâî",
    "Estonian": "äõüöšž",
    "Latvian": "āīēšņūļģžķč",
    "Lithuanian": "ėžšųįąčęū",
    "English": "éèïñöçêâà",
}
_OTHER = {
    "Russian": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфёъ",
    "Ukrainian": "оаинівтреслкдумпязьбгчйхїжцєюшщфґ",
    "Belarusian": "анiіеоклсырдўувпзтямьгбчйхжцшюэёф",
    "Bulgarian": "аоиетнрсвлпкдмзгъбуячщжхцйшфюь",
    "Serbian": "аиоенртсујвкпдмлзгбчшњцћхжљђфџ",
    "Greek": "αοιετσνηυρπκμλςωδγχθφβξζψάόίέήύώϊϋ",
    "Hebrew": "יולאהרמתבשנםחדקעספגצזטכןךףץ",
    "Arabic": "اليمنرتوبةعدسفهكقحجأشصطخإىذضزثئءآغظؤ",
}
ALPHABETS: dict[str, str] = {**_LATIN, **_OTHER}
"""The letters of each language that are not ASCII, in lower case, the most frequent first."""
FINAL_FORMS = "ךםןףץ"
"""Letters of Hebrew that only end a word."""
