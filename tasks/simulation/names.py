"""Made-up names and identifiers, unique by construction: a number written in words.

Two names differ in their words, not only in accents, case or punctuation, so that they stay
different after any normalisation.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_FIRST_WORDS = """
Amber Ancient Arctic Autumn Bitter Björk Blind Blue Brass Broken Burning Café Carbon Cherry Chrome
Cobalt Copper Coral Crystal Dancing Dark Déjà Distant Double Drifting Dusty Eager Echo Electric
Elder Emerald Empty Endless Façade Fading Feral Fever Final Flying Forty Foxy Frozen Gentle Ghost
Gilded Glass Golden Grand Gray Gypsum Harbour Hidden Hollow Holy Honey Hotel Hungry Indigo Inner
Iron Ivory Jade Jolly Kind König Last Lavender Lazy Lemon Little Lonely Lost Lucky Lunar Magnetic
Marble Mellow Midnight Mint Misty Modern Mono Motör Naïve Neon Night Noble Northern Ocean Odd Olive
Opal Orange Outer Paper Paradise Pearl Pepper Pilot Plastic Polar Purple Quiet Quick Radio Rapid
Raven Red Restless Riot River Rocket Rosé Royal Ruby Rusty Sable Sacred Salt Scarlet Secret Señor
Seven Shadow Shy Silent Silver Sister Slow Small Smoky Solar Solid Southern Space Spring Star Static
Steel Stereo Stone Storm Strange Sugar Summer Sunday Super Sweet Tender Thirsty Thunder Tiny Titan
Toy Triple Tropic True Turbo Twin Über Ultra Umber Urban Vacant Vague Velvet Violet Vivid Wandering
Warm Western White Wicked Wild Winter Wooden Yellow Young Zen Zinc Žuta
"""
_SECOND_WORDS = """
Alley Anchor Angels Antlers Arcade Archers Atlas Avenue Badgers Ballroom Bandits Beacon Bears Bells
Birds Bishop Bloom Boats Bridge Brothers Cabin Canyon Caravan Castle Cathedral Chapel Choir Cinema
Circus Citizens Clouds Coast Colony Comet Compass Coyotes Crowd Crows Dancers Daughters Deer Desert
Diner Doves Dragons Dreamers Drums Eagles Embers Engine Estate Falcons Farmers Fathers Fields Fires
Flags Flowers Forest Foxes Garden Gates Giants Gloves Guitars Harbor Hearts Herons Hills Horizon
Horses Hours Houses Hunters Islands Jackets Jaguars Jungle Kings Kites Ladders Lakes Lanterns Leaves
Letters Lighthouse Lions Lovers Machines Magnets Maps Masks Matches Meadows Mirrors Monks Moths
Mountains Museum Needles Nomads Oaks Orchestra Orchids Otters Owls Palms Panthers Parade Parrots
Pianos Pigeons Planets Poets Ponies Prophets Pyramid Queens Rabbits Railway Rain Ravens Rebels
Ribbons Rivers Robots Roses Sailors Saints Satellites School Seasons Sharks Shelter Ships Shoes
Signals Singers Skies Smoke Soldiers Sparrows Spiders Stairs Stations Stories Strangers Streets
Sundays Swans Temple Theatre Thieves Tigers Tongues Towers Trains Travellers Trees Trumpets Tunnels
Turtles Umbrellas Valley Villains Violins Voices Volcano Wagons Walls Waves Weather Whales Wheels
Windows Wings Witches Wolves Woods Writers Yards Years Zebras Zeppelin
"""
_PLACES_WORDS = """
Aachen Bergen Cádiz Dover Évora Faro Genova Havana Izmir Jaén Kyoto Lyon Málaga Napoli Oslo Porto
Québec Riga São-Paulo Tromsø Uppsala Vienna Warsaw Xàtiva York Zürich 東京 北京 서울 Москва Αθήνα
"""
_FIRST, _SECOND, _PLACES = _FIRST_WORDS.split(), _SECOND_WORDS.split(), _PLACES_WORDS.split()


def artists(numbers: Ints) -> pl.Series:
    """A name for each number: (n,) strings, different for different numbers below 10^9."""
    first, rest = numbers % len(_FIRST), numbers // len(_FIRST)
    second, place = rest % len(_SECOND), rest // len(_SECOND)
    frame = _words(first=(_FIRST, first), second=(_SECOND, second), place=(_places(place), place))
    name = pl.col("first") + " " + pl.col("second")
    style = pl.lit(pl.Series(numbers % 11))
    return frame.select(
        pl.when(pl.col("place") != "")
        .then(name + " of " + pl.col("place"))
        .when(style == 0)
        .then("The " + name)
        .when(style == 1)
        .then(pl.col("first") + " & The " + pl.col("second"))
        .when(style == 2)
        .then(pl.col("first") + ", " + pl.col("second"))
        .otherwise(name)
        .alias("name")
    )["name"]


def titles(numbers: Ints) -> pl.Series:
    """A title for each number: (n,) strings, different for different numbers below 10^9."""
    first, rest = numbers % len(_FIRST), numbers // len(_FIRST)
    second, place = rest % len(_SECOND), rest // len(_SECOND)
    frame = _words(first=(_FIRST, first), second=(_SECOND, second), place=(_places(place), place))
    name = pl.col("second") + " in " + pl.col("first")
    style = pl.lit(pl.Series(numbers % 13))
    return frame.select(
        pl.when(pl.col("place") != "")
        .then(name + ", " + pl.col("place"))
        .when(style == 0)
        .then('"' + pl.col("second") + '" in ' + pl.col("first"))
        .when(style == 1)
        .then(pl.col("second") + ", " + pl.col("first"))
        .when(style == 2)
        .then(pl.col("first") + " Doesn't " + pl.col("second"))
        .when(style == 3)
        .then("Où est " + pl.col("first") + " " + pl.col("second") + "?")
        .otherwise(name)
        .alias("name")
    )["name"]


def distinct(group: Ints, member: Ints) -> Ints:
    """A number per (group, member), different within a group: (n,) below 10^9 for 10^8 members."""
    words = len(_FIRST) * len(_SECOND)
    # 7919 is prime and no factor of the word counts: steps through all words before repeating
    return (group * 104_729 + member * 7919) % words + words * (member // words)


def codes(numbers: Ints, alphabet: str, length: int, salt: int) -> pl.Series:
    """A random-looking code of ``length`` letters per number: (n,) strings, distinct for >= 11 letters
    of an alphabet of 62 or more.
    """
    letters = np.frombuffer(alphabet.encode("ascii"), dtype=np.uint8)
    text = np.empty((len(numbers), length), dtype=np.uint8)
    state = np.empty(0, dtype=np.uint64)
    for place in range(length):
        if place % 11 == 0:  # 62^11 > 2^64: eleven letters write a 64-bit number in full
            state = mixed(numbers.astype(np.uint64) + np.uint64((salt * 1_000_003 + place) << 24))
        text[:, place] = letters[(state % np.uint64(len(letters))).astype(np.int64)]
        state = state // np.uint64(len(letters))
    return pl.Series(text.view(f"S{length}").ravel()).cast(pl.String)


def mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection of 64-bit numbers."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _places(place: Ints) -> list[str]:
    most = int(place.max(initial=0))
    return ["", *(f"{_PLACES[i % len(_PLACES)]}{i // len(_PLACES) + 1 if i >= len(_PLACES) else ''}"
                  for i in range(most))]  # fmt: skip


def _words(**parts: tuple[list[str], Ints]) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series(words).gather(index) for name, (words, index) in parts.items()})
