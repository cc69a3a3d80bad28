"""What a profile finds, in sentences: of each feature, and of all for the top of the page. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from backfill.profiling.measured import ALIKE, LARGE, LEAST_ROWS, REFERENCE, SMALL, Change, Profile, Profiles, Slice
from backfill.profiling.wording import moment, share, shown
from penstock.counts import counted
from streams.definitions.windows import LIFETIME_MS

Level = Literal["bad", "look", "good", "plain"]

_NEARLY = 0.995
_MOSTLY = 0.5
_BY_CHANCE = 0.01
_DAY_MS = 86_400_000
# A slice that is a little shorter than a day has nearly all of its hours.
_ABOUT = 1.1


@dataclass(frozen=True)
class Finding:
    """One line of the summary: what it says, how much it matters, and the features that it is about."""

    level: Level
    text: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """What is worth knowing of one feature: a word for the table, and a sentence."""

    level: Level
    word: str
    text: str


def summary(profiles: Profiles) -> tuple[Finding, ...]:
    """The findings on all features, the worst first."""
    found: list[Finding] = []

    def add(level: Level, holds: Callable[[Profile], bool], one: str, many: str) -> None:
        names = tuple(feature.column.name for feature in profiles.features if holds(feature))
        if names:
            found.append(Finding(level, f"{len(names):,} {one if len(names) == 1 else many}", names))

    add(
        "bad",
        lambda one: one.worth is not None and one.worth.too_good,
        "is too good for the label (look whether it knows it)",
        "are too good for the label (look whether they know it)",
    )
    add("look", lambda one: one.drifted, "changed over time", "changed over time")
    add("look", lambda one: not one.present, "is always null", "are always null")
    add("look", _is_mostly_null, "is mostly null", "are mostly null")
    add("look", lambda one: one.is_constant, "is constant", "are constant")
    add("look", _is_nearly_constant, "is nearly constant", "are nearly constant")
    add(
        "look",
        lambda one: bool(one.not_numbers or any(one.infinities)),
        "has values that are no finite numbers",
        "have values that are no finite numbers",
    )
    if pairs := profiles.correlation.pairs:
        names = tuple(name for group in profiles.correlation.groups for name in group)
        verb = "says" if pairs == 1 else "say"
        found.append(Finding("look", f"{counted(pairs, 'pair')} of features {verb} the same", names))
    if profiles.task is not None:
        says_nothing = says_nothing_by(profiles)
        add("plain", says_nothing, "says nothing of the label by itself", "say nothing of the label by themselves")
    add("good", lambda one: not one.nulls, "is never null", "are never null")
    small = _small_slices(profiles)
    if small:
        text = f"{small} of {counted(len(profiles.begins) - 1, 'slice')} of time have fewer than {LEAST_ROWS} rows"
        found.append(Finding("plain", f"{text}, too few to tell whether anything changed in them"))
    if (profiles.begins[-1] - profiles.begins[0]) * _ABOUT < _DAY_MS * (len(profiles.begins) - 1):
        text = "a slice of time is shorter than a day: what changes with the hour of the day looks like a change"
        found.append(Finding("plain", text))
    return tuple(found)


def says_nothing_by(profiles: Profiles) -> Callable[[Profile], bool]:
    """Whether what a feature says of the label may be chance, so many features having been tried."""
    limit = _BY_CHANCE / len(profiles.features)
    return lambda one: one.worth is not None and one.worth.information.chance > limit


def notes(profile: Profile, profiles: Profiles) -> tuple[Note, ...]:
    """The notes on one feature, the worst first."""
    return tuple(_notes(profile, profiles))


def _notes(profile: Profile, profiles: Profiles) -> Iterable[Note]:
    if profile.worth is not None and profile.worth.too_good:
        text = "It alone nearly gives the label. Look whether it knows it: whether it, or an event that it counts, "
        yield Note("bad", "too good", text + "is made or changed after the outcome is known.")
    if profile.drifted:
        yield Note("look", "changed", _change(profile, profiles))
    if not profile.present:
        yield Note("look", "always null", "It is null in every row.")
    elif profile.is_constant:
        value = profile.commonest[0] if profile.commonest else profile.least
        named = shown(value) if isinstance(value, int | float) else "one text"
        rest = "and else is null" if profile.nulls else "so that a model can learn nothing from it"
        yield Note("look", "constant", f"It has one value, {named}, {rest}.")
    elif _is_nearly_constant(profile):
        text = f"{share(profile.common_share)} of its values are the same."
        yield Note("look", "nearly constant", text)
    if _is_mostly_null(profile):
        yield Note("look", "mostly null", f"It is null in {share(profile.nulls / profile.rows)} of the rows.")
    if profile.not_numbers or any(profile.infinities):
        low, high = profile.infinities
        parts = [(high, "are ∞"), (low, "are −∞"), (profile.not_numbers, "are not a number (NaN), and count as null")]
        text = ", ".join(f"{rows:,} {what}" for rows, what in parts if rows)
        yield Note("look", "not finite", f"{text}.")
    for group in profiles.correlation.groups:
        if profile.column.name in group:
            others = [name for name in group if name != profile.column.name]
            more = f" and {len(others) - 3} more" if len(others) > 4 else ""
            named = ", ".join(others[:3] if more else others)
            text = f"It says the same as {named}{more}: rank correlation beyond ±{ALIKE}, directly or by one of them."
            yield Note("plain", "says the same", text)
    if says_nothing_by(profiles)(profile):
        yield Note("plain", "no worth seen", "What it alone says of the label may be chance.")


def _change(profile: Profile, profiles: Profiles) -> str:
    later = [one for one in profile.slices[REFERENCE:] if one.psi is not None]
    changed = [one for one in later if one.change in (Change.MOVED, Change.FAR)]
    first = profile.slices.index(changed[0])
    span = profiles.begins[-1] - profiles.begins[0]
    most = max(one.psi or 0.0 for one in changed)
    size = "far from" if most >= LARGE else "different from"
    text = (
        f"From {moment(profiles.begins[first], span)} on it is {size} the first {REFERENCE} slices in "
        f"{len(changed)} of {counted(len(later), 'later slice')}: PSI up to {most:.2f} (below {SMALL} is small, from "
        f"{LARGE} on large). {_what_changed(profile, later[-1])}"
    )
    if profile.among > LARGE:
        text += f" The first slices already differ among each other: PSI up to {profile.among:.2f}."
    return text + _of_itself(profile.column.window_ms, span)


def _of_itself(window_ms: int | None, span_ms: int) -> str:
    if window_ms == LIFETIME_MS:
        return " It counts from the first event on, so it may grow by itself."
    if window_ms is not None and window_ms > span_ms:
        return " Its window is longer than the whole range of time, so it may still have been filling."
    return ""


def _what_changed(profile: Profile, last: Slice) -> str:
    """The first slices beside the last one that is large enough."""
    begin = next(one for one in profile.slices if one.change is Change.REFERENCE or one.rows >= LEAST_ROWS)
    parts = []
    if begin.median != last.median:
        parts.append(f"median {shown(begin.median)} → {shown(last.median)}")
    if begin.p90 != last.p90:
        parts.append(f"90th percentile {shown(begin.p90)} → {shown(last.p90)}")
    if share(begin.null_share) != share(last.null_share):
        parts.append(f"nulls {share(begin.null_share)} → {share(last.null_share)}")
    if not parts:
        return "Median and nulls are as before: the change is elsewhere."
    is_back = last.change is Change.SAME
    return f"From the first slice to the last: {', '.join(parts)}." + " The last is like the first ones." * is_back


def _is_mostly_null(profile: Profile) -> bool:
    return profile.present > 0 and profile.nulls / profile.rows > _MOSTLY


def _is_nearly_constant(profile: Profile) -> bool:
    return profile.column.kind != "list" and not profile.is_constant and profile.common_share >= _NEARLY


def _small_slices(profiles: Profiles) -> int:
    return sum(one.rows < LEAST_ROWS for one in profiles.features[0].slices)
