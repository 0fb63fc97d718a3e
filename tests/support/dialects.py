"""Tables written as shops write them: delimiters, quotes, encodings, decimal signs and currencies, drawn at random."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

HEADER = ("product_id", "image", "title", "price")
WORDS = {
    "windows-1252": {
        "de": "Tasse grün Küche Möbel Größe weiß süß Stühle Übertopf schön Tür für Löffel Gläser Körbe Bürste rot blau",
        "fr": "théière émaillée crème brûlée à café forêt façade élégant où très légère chaîne pâte œuf crêpe rôti né",
        "es": "niño mañana sofá lámpara jardín baño pequeño sillón algodón cojín tamaño español también corazón año",
        "da": "rød grøn blå køkken børn bøger æble skærm håndklæde tøj træ bærbar grå højtaler støvle",
    },
    "windows-1250": {
        "pl": "żółta łyżka świecznik łóżko książka krzesło różowy biały zielony półka ścierka wąski dąb źrebię miękki",
        "cs": "červený židle žlutá skříň křišťál dřevěný příbor stůl měkký růžová šedá čistý hrnek talíř lžíce větší",
        "hu": "piros szék asztal tűzhely őszi fazék csésze üveg kék zöld gyűrű erős könyv függöny tükör hűtő nő",
    },
    "windows-1251": {"ru": "Красная чашка Стол лампа Белый стул кухня Зелёный диван подушка Ящик Шкаф для книг"},
    "windows-1253": {"el": "Κόκκινη κούπα Πράσινο τραπέζι καρέκλα Λευκή λάμπα βιβλίο μαξιλάρι Μπλε κουρτίνα"},
    "windows-1254": {"tr": "Kırmızı çay bardağı şeker kaşık yeşil ağaç gümüş ışık küçük sandalye güneş dağ İnce"},
    "windows-1257": {
        "lt": "žalias puodelis žąsis šešėlis stalas kėdė šviesa mažas didelis šaukštas lėkštė žvakė ąžuolas"
    },
}
UNICODE = "aZ09 ,;\t|\"'\\\n.-äßé€“ñ漢字🧥\u00a0=+"
STYLES = ("{:.2f}", "comma", "american", "german", "swiss", "french")


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """A file's bytes, its ending, and what it says: (id, image, title, price) in each row."""

    content: bytes
    ending: str
    rows: list[tuple[str, str, str, float]]
    about: str


def write_table(random: Random) -> WrittenTable:
    """Return a table of up to twelve rows in a dialect, both drawn at random."""
    encoding = random.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", *WORDS])
    delimiter = random.choice([",", ";", "\t", "|"])
    escapes = random.random() < 0.25
    newline = random.choice(["\r\n", "\r\n", "\n"])
    style = random.choice(STYLES)
    currency = random.choice(["", "", "", "{} €", "${}", "{} EUR", "CHF {}", "£{}"])
    if encoding in WORDS:
        currency = currency.replace("€", "EUR").replace("£", "GBP ")
    rows, cells = [], []
    for number in range(random.randint(3, 12)):
        title = _title(random, encoding)
        if escapes and not number:
            title = f'19" {title}'
        price = Decimal(random.randint(1, 2_000_000)) / 100
        row = (f"{random.randint(0, 99):02d}-{number}", f"images/{number}.jpg", title, float(price))
        rows.append(row)
        cells.append(
            [*row[:3], currency.format(write_number(price, style)) if currency else write_number(price, style)]
        )
    quoting = csv.QUOTE_ALL
    if newline == "\r\n" and (not escapes or random.random() < 0.05):
        quoting = csv.QUOTE_MINIMAL  # with escapes Python writes 19\\" without quotes, which may be meant so
    buffer = io.StringIO(newline="")
    if random.random() < 0.15 and delimiter != "\t":
        buffer.write(f"sep={delimiter}{newline}")
    how = {"doublequote": False, "escapechar": "\\"} if escapes else {}
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=newline, quoting=quoting, **how)
    writer.writerow(HEADER)
    writer.writerows(cells)
    ending = random.choice([".csv", ".csv", ".txt", ".tsv"])
    about = f"{encoding} {delimiter!r} {style} {currency!r} escapes={escapes} {newline!r} {ending}"
    return WrittenTable(buffer.getvalue().encode(encoding), ending, rows, about)


def write_number(number: Decimal, style: str) -> str:
    """Return a number of two decimal places as people of a country write it."""
    american = f"{number:,.2f}"
    swap = str.maketrans(",.", ".,")
    return {
        "comma": f"{number:.2f}".replace(".", ","),
        "american": american,
        "german": american.translate(swap),
        "swiss": american.replace(",", "'"),
        "french": american.replace(",", "\u00a0").replace(".", ","),
    }.get(style, f"{number:.2f}")


def _title(random: Random, encoding: str) -> str:
    if encoding in WORDS:
        words = random.choice(sorted(WORDS[encoding].values()))
        return " ".join(random.choice(words.split()) for _ in range(random.randint(2, 5)))
    return "t" + "".join(random.choice(UNICODE) for _ in range(random.randint(0, 12)))
