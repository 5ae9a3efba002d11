"""Tasks whose answers can be checked: arithmetic, extraction, multiple choice. Always the same."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

_NUMBER = re.compile(r"-?\d+")
_LETTER = re.compile(r"\W*(?:the (?:correct )?answer is\W*|answer\W*)?([ABCD])\b", re.IGNORECASE)


@dataclass(slots=True, frozen=True)
class Task:
    """A question, its right answer, and whether a text gives that answer."""

    kind: str
    question: str
    answer: str
    is_right: Callable[[str], bool]


def tasks() -> list[Task]:
    """40 of arithmetic, 30 of extraction, 30 of multiple choice."""
    return [*_arithmetic(40), *_dates(15), *_names(15), *_choices()]


def _arithmetic(count: int) -> list[Task]:
    """Sums, differences and products of numbers of one digit, then of two."""
    chance = random.Random(1)
    found = []
    for number in range(count):
        largest = 9 if number < count // 2 else 99
        one, other = chance.randint(2, largest), chance.randint(2, largest)
        sign = "+-*"[number % 3]
        if sign == "-":
            one, other = max(one, other), min(one, other)
        result = {"+": one + other, "-": one - other, "*": one * other}[sign]
        question = f"What is {one} {sign} {other}? Answer with the number only."
        found.append(Task("arithmetic", question, str(result), _last_number_is(result)))
    return found


def _last_number_is(expected: int) -> Callable[[str], bool]:
    def is_right(text: str) -> bool:
        numbers = _NUMBER.findall(text.replace(",", ""))
        return bool(numbers) and int(numbers[-1]) == expected

    return is_right


_MONTHS = ("January", "March", "April", "June", "July", "September", "October", "December")
_NAMES = ("Alice", "Bruno", "Chen", "Daria", "Emeka", "Fatima", "Goran", "Hana", "Ivan", "Julia")
_ROLES = ("signed the contract", "paid the bill", "wrote the report", "chaired the meeting")


def _dates(count: int) -> list[Task]:
    chance = random.Random(2)
    found = []
    for _ in range(count):
        sold, opened = (
            f"{chance.randint(1, 28)} {chance.choice(_MONTHS)} {year}"
            for year in (chance.randint(1950, 1984), chance.randint(1985, 2020))
        )
        text = f"The old mill was sold on {sold} and opened again as a hotel on {opened}."
        asked, expected, other = chance.choice(
            [("sold", sold, opened), ("opened again", opened, sold)]
        )
        question = f"{text}\nOn which date was it {asked}? Answer with the date only."
        found.append(Task("extraction", question, expected, _names_only(expected, other)))
    return found


def _names(count: int) -> list[Task]:
    chance = random.Random(3)
    found = []
    for _ in range(count):
        one, other = chance.sample(_NAMES, 2)
        did, also_did = chance.sample(_ROLES, 2)
        text = f"On Monday {one} {did}, while {other} {also_did}."
        role, expected, wrong = chance.choice([(did, one, other), (also_did, other, one)])
        question = f"{text}\nWho {role}? Answer with the name only."
        found.append(Task("extraction", question, expected, _names_only(expected, wrong)))
    return found


def _names_only(expected: str, wrong: str) -> Callable[[str], bool]:
    """Right is a text with the one and not the other: repeating the sentence is no answer."""
    return lambda text: expected.lower() in text.lower() and wrong.lower() not in text.lower()


#: A question, the right answer, three wrong ones.
_FACTS = (
    ("Which animal barks?", "dog", "cat", "cow", "fish"),
    ("Which colour is fresh grass?", "green", "red", "black", "purple"),
    ("How many days has a week?", "seven", "five", "nine", "twelve"),
    ("What is the capital of France?", "Paris", "Rome", "Oslo", "Madrid"),
    ("Which season is the coldest?", "winter", "summer", "spring", "autumn"),
    ("What do bees make?", "honey", "milk", "silk", "bread"),
    ("Which planet do we live on?", "Earth", "Mars", "Venus", "Saturn"),
    ("What is frozen water called?", "ice", "steam", "sand", "oil"),
    ("Which of these is a fruit?", "apple", "carrot", "potato", "onion"),
    ("What do you use to cut paper?", "scissors", "spoon", "pillow", "brush"),
    ("Which animal can fly?", "eagle", "horse", "shark", "snake"),
    ("How many legs has a spider?", "eight", "two", "four", "ten"),
    ("Which star gives us daylight?", "the Sun", "Sirius", "Polaris", "Vega"),
    ("What do you wear on your feet?", "shoes", "gloves", "hat", "scarf"),
    ("Which language is spoken in Brazil?", "Portuguese", "Dutch", "Greek", "Polish"),
    ("What is the opposite of hot?", "cold", "tall", "loud", "soft"),
    ("Which of these is a metal?", "iron", "wood", "glass", "wool"),
    ("What do cows drink as calves?", "milk", "tea", "juice", "oil"),
    ("Which organ pumps blood?", "heart", "lung", "skin", "ear"),
    ("What is the first month of the year?", "January", "May", "August", "November"),
    ("Which continent is Egypt in?", "Africa", "Asia", "Europe", "Australia"),
    ("Which instrument has keys?", "piano", "drum", "flute", "trumpet"),
    ("What falls from clouds?", "rain", "stone", "salt", "gold"),
    ("Who treats sick people?", "doctor", "baker", "pilot", "farmer"),
    ("Which number is even?", "eight", "seven", "five", "three"),
    ("What is a young dog called?", "puppy", "kitten", "lamb", "calf"),
    ("Where do fish live?", "in water", "in trees", "in sand", "in clouds"),
    ("Which of these is a vehicle?", "bus", "chair", "window", "spoon"),
    ("What do you read?", "book", "soup", "shoe", "stone"),
    ("Which gas do we breathe in to live?", "oxygen", "helium", "neon", "argon"),
)


def _choices() -> list[Task]:
    chance = random.Random(4)
    found = []
    for question, *options in _FACTS:
        right = options[0]
        chance.shuffle(options)
        listed = "\n".join(f"{letter}) {one}" for letter, one in zip("ABCD", options, strict=True))
        letter = "ABCD"[options.index(right)]
        text = f"{question}\n{listed}\nAnswer with the letter only."
        is_right = _chooses(letter, right, tuple(options))
        found.append(Task("multiple choice", text, f"{letter}) {right}", is_right))
    return found


def _chooses(letter: str, right: str, options: tuple[str, ...]) -> Callable[[str], bool]:
    """Right is the letter at the beginning, or else the right option and no other."""

    def is_right(text: str) -> bool:
        stated = _LETTER.match(text)
        if stated is not None:
            return stated.group(1).upper() == letter
        return [one for one in options if one.lower() in text.lower()] == [right]

    return is_right
