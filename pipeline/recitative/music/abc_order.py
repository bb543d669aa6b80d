"""What of a written tune is played, and in which order: repeats, their endings, and parts.

abcnotation.com, standard 2.1, sections 4.8 to 4.10 and 3.1.9.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from recitative.music.abc_items import Bar, Item, Part

MOST_ITEMS = 100_000  # more than any tune has


def played(items: Sequence[Item], order: str = "") -> list[Item]:
    """The items in the order of playing. order: 'AAB', 'A2B', '(AB)3C' of the labels of parts; '': as written.

    What stands before the first part is played first. Raises ValueError for an order that names another part.
    """
    parts = _parts(items)
    labels = _expanded(order)
    if missing := sorted(set(labels) - {label for label, _ in parts}):
        raise ValueError(f"the order of parts '{order}' names part '{missing[0]}', which is not there")
    if not labels:
        return _limited([item for _, part in parts for item in unfolded(part)])
    by_label: dict[str, list[Item]] = {}
    for label, part in parts:
        by_label[label] = by_label.get(label, []) + unfolded(part)
    return _limited([item for label in ["", *labels] for item in by_label[label]])


def _parts(items: Sequence[Item]) -> list[tuple[str, list[Item]]]:
    parts: list[tuple[str, list[Item]]] = [("", [])]
    for item in items:
        if isinstance(item, Part):
            parts.append((item.label, []))
        else:
            parts[-1][1].append(item)
    return parts


def _limited(items: list[Item]) -> list[Item]:
    if len(items) > MOST_ITEMS:
        raise ValueError(f"with its repeats it has more than {MOST_ITEMS} notes and bars")
    return items


def _expanded(order: str) -> list[str]:
    """'(AB)2C' -> A B A B C."""
    text = re.sub(r"[\s.,*]", "", order)
    while match := re.search(r"\(([^()]*)\)(\d{0,2})|(.)(\d{1,2})", text):
        text = (
            text[: match.start()] + (match[1] or match[3] or "") * int(match[2] or match[4] or 1) + text[match.end() :]
        )
        if len(text) > MOST_ITEMS:
            raise ValueError(f"the order of parts '{order}' is too long")
    return list(text)


def unfolded(items: Sequence[Item]) -> list[Item]:
    """One part with its repeats written out, and without its bars.

    A repeat goes back to '|:' or, where there is none, to the last ':|' or double bar, or the beginning of the part. An
    ending that is not this time's is left out, up to the next one or behind the repeat that closes it.
    """
    result: list[Item] = []
    repeat = _Repeat(0)
    place = 0
    while place < len(items) and len(result) <= MOST_ITEMS:
        item = items[place]
        place += 1
        if not isinstance(item, Bar):
            result.append(item)
        elif item.closes > 1 and repeat.times < _times_in_all(items, repeat.start, place):
            place, repeat = repeat.start, replace(repeat, times=repeat.times + 1, in_ending=False)
        else:
            repeat = repeat.behind(item, place)
            if item.endings and repeat.times not in item.endings:
                place = _behind_ending(items, place, repeat.times)
                repeat = repeat if repeat.times in _endings(items, place - 1) else _Repeat(place)
    return result


@dataclass(frozen=True)
class _Repeat:
    """start: where to go back to; times: the how manieth time this is, from 1; explicit: it was opened by '|:'."""

    start: int
    times: int = 1
    explicit: bool = False
    in_ending: bool = False

    def behind(self, bar: Bar, place: int) -> _Repeat:
        """What holds behind a bar that is played through; ``place`` is behind it."""
        if bar.opens:
            return _Repeat(place, explicit=True)
        if bar.endings:
            return replace(self, in_ending=True)
        ends_repeat = bar.closes > 1 or (bar.double and self.in_ending)
        if ends_repeat or (bar.double and not self.explicit and self.times == 1):
            return _Repeat(place)
        return self


def _times_in_all(items: Sequence[Item], start: int, place: int) -> int:
    """How often the section from ``start`` is played which the bar before ``place`` closes."""
    closes = max(item.closes for item in items[place - 1 : place] if isinstance(item, Bar))
    endings = (time for number in range(start, place + 1) for time in _endings(items, number))
    return max(closes, *endings, 1)


def _behind_ending(items: Sequence[Item], place: int, times: int) -> int:
    """Where to go on, if what begins at ``place`` is another time's ending."""
    for number in range(place, len(items)):
        bar = items[number]
        if times in _endings(items, number):
            return number + 1
        another = _endings(items, number) or _endings(items, number + 1)
        if isinstance(bar, Bar) and (bar.closes > 1 or bar.opens or bar.double) and not another:
            return number + 1
    return len(items)


def _endings(items: Sequence[Item], place: int) -> frozenset[int]:
    item = items[place] if place < len(items) else None
    return item.endings if isinstance(item, Bar) else frozenset()
