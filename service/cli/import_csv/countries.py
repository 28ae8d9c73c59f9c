"""The country that an English name means.

ISO 3166 gives official names ("Korea, Republic of"). What people and programs write instead stands here:
the common names of Unicode's CLDR, and those that were usual before a country changed its name.
"""

import unicodedata
from typing import Final

import iso3166

#: By alpha-2 code, in any case, with or without accents and punctuation.
_COMMON: Final[dict[str, str]] = {
    "AE": "UAE; Emirates",
    "AX": "Aland",
    "BN": "Brunei",
    "BO": "Bolivia",
    "BQ": "Caribbean Netherlands; Bonaire",
    "CC": "Cocos Islands; Keeling Islands",
    "CD": "Congo - Kinshasa; Congo (DRC); Congo, The Democratic Republic of the; DR Congo; DRC; Zaire",
    "CG": "Congo - Brazzaville; Congo (Republic); Republic of the Congo; Congo Republic",
    "CI": "Ivory Coast",
    "CN": "People's Republic of China; PRC; Mainland China; China mainland",
    "CV": "Cape Verde",
    "CZ": "Czech Republic",
    "FK": "Falkland Islands; Falkland Islands (Islas Malvinas)",
    "FM": "Micronesia",
    "GB": "United Kingdom; UK; U.K.; Great Britain; Britain; England; Scotland; Wales; Northern Ireland",
    "GM": "The Gambia",
    "BS": "The Bahamas",
    "HK": "Hong Kong SAR China; Hong Kong SAR",
    "IE": "Republic of Ireland",
    "IR": "Iran",
    "KP": "North Korea; DPRK",
    "KR": "South Korea; Republic of Korea; Korea; Korea (South); Korea, South",
    "LA": "Laos",
    "MD": "Moldova; Republic of Moldova",
    "MF": "Saint Martin",
    "MK": "Macedonia; Macedonia, the former Yugoslav Republic of; FYROM",
    "MM": "Burma; Myanmar (Burma)",
    "MO": "Macau; Macao SAR China; Macao SAR; Macau SAR",
    "NL": "The Netherlands; Holland",
    "NR": "Nauru",
    "PN": "Pitcairn Islands",
    "PS": "Palestine; Palestinian Territories; Palestinian Territory, Occupied",
    "RU": "Russia",
    "SH": "Saint Helena",
    "SK": "Slovak Republic",
    "ST": "Sao Tome; Sao Tome & Principe",
    "SX": "Sint Maarten",
    "SY": "Syria",
    "SZ": "Swaziland",
    "TL": "East Timor",
    "TR": "Turkey",
    "TW": "Taiwan",
    "TZ": "Tanzania; United Republic of Tanzania",
    "UM": "U.S. Outlying Islands; US Outlying Islands",
    "US": "United States; USA; U.S.A.; U.S.; The United States; The United States of America; America",
    "VA": "Vatican City; Vatican; Holy See (Vatican City State)",
    "VE": "Venezuela",
    "VG": "British Virgin Islands",
    "VI": "U.S. Virgin Islands; US Virgin Islands",
    "VN": "Vietnam",
}


def _plain(name: str) -> str:
    """Without what is written in several ways: case, accents, punctuation, `&`, `St.`, spaces."""
    decomposed = unicodedata.normalize("NFKD", name.replace("&", " and ")).casefold()
    bare = (each for each in decomposed if each not in ".'\u2019" and not unicodedata.combining(each))
    words = "".join(each if each.isalnum() else " " for each in bare).split()
    return " ".join("saint" if word == "st" else word for word in words)


def _names() -> dict[str, str]:
    names = {_plain(name): code for code, common in _COMMON.items() for name in common.split(";")}
    for country in iso3166.countries:
        names |= {_plain(each): country.alpha2 for each in (country.name, country.alpha2, country.alpha3)}
    return names


_CODES: Final = _names()


def country_code(name: str) -> str:
    """ISO 3166-1 alpha-2 of an English name, or of a code. Raises ValueError for any other text."""
    code = _CODES.get(_plain(name))
    if code is None:
        raise ValueError("Write the country's English name, or its ISO 3166-1 code of two letters.")
    return code
