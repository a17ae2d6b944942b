"""Placeholders in the words of command lines: `{kernel}`, `{memory_mib}`, … Whatever else has braces stays as it is.

Values are put in once and never looked at again, so that a path with braces in it is a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

ARGUMENTS = "arguments"  # as a whole word: the program's words, each a word of its own
# What there is, in the words of the page on extending.
FILES = ("kernel", "initrd", "disk", "program", "json")
OTHERS = ("cmdline", "memory_mib", "vcpus", "name", "console", "folder")
KNOWN = (*FILES, *OTHERS, ARGUMENTS)
Values = Mapping[str, str | int]  # those that have none are not there
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def places(text: str) -> tuple[str, ...]:
    """The names of a text's placeholders, in their order."""
    return tuple(_PLACE.findall(text))


def all_places(words: Iterable[str]) -> frozenset[str]:
    """The names of all placeholders of several texts."""
    return frozenset(name for word in words for name in places(word))


def filled(text: str, values: Values) -> str:
    """The text with values in its placeholders. Raises KeyError for one that has none."""
    return _PLACE.sub(lambda match: str(values[match[1]]), text)


def filled_words(template: Iterable[str], values: Values, arguments: Iterable[str]) -> tuple[str, ...]:
    """Words with values in their placeholders; `{arguments}` becomes those words. Raises KeyError as `filled`."""
    words: list[str] = []
    for word in template:
        words += arguments if word == f"{{{ARGUMENTS}}}" else [filled(word, values)]
    return tuple(words)


def texts(data: object) -> tuple[str, ...]:
    """All texts in JSON data, wherever they are."""
    if isinstance(data, str):
        return (data,)
    parts = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    return tuple(text for part in parts for text in texts(part))


def filled_data(data: object, values: Values, arguments: Sequence[str] = ()) -> object:
    """JSON data with values in the placeholders of its texts; a text that is one placeholder becomes a number where
    the value is one, and `{arguments}` in a list becomes those words.

    A member without a value is left out, and an object of a list that lost a member so is left out with it.
    """
    if isinstance(data, Mapping):
        return {key: filled_data(value, values, arguments) for key, value in data.items() if not _lacks(value, values)}
    if isinstance(data, list):
        items: list[object] = []
        for item in data:
            if item == f"{{{ARGUMENTS}}}":
                items += arguments
            elif not _lacks(item, values) and not _lost(item, values):
                items.append(filled_data(item, values, arguments))
        return items
    if isinstance(data, str):
        match = _PLACE.fullmatch(data)
        return values[match[1]] if match else filled(data, values)
    return data


def _lacks(value: object, values: Values) -> bool:
    return isinstance(value, str) and any(name not in values for name in places(value))


def _lost(item: object, values: Values) -> bool:
    return isinstance(item, Mapping) and any(_lacks(value, values) for value in item.values())
