"""The profile as one HTML page, light or dark: it loads nothing, and needs no script. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from backfill.profiling import charts
from backfill.profiling.charts import element
from backfill.profiling.findings import Finding, notes, summary
from backfill.profiling.measured import (
    ALIKE,
    LEAST_ROWS,
    REFERENCE,
    Correlation,
    Profile,
    Profiles,
    Worth,
)
from backfill.profiling.style import STYLE
from backfill.profiling.wording import brief, label, moment, share, shown
from penstock.counts import counted

_SCALES = {
    "values": "A bar for each value.",
    "linear": "Bars are equally wide.",
    "logarithmic": "Heavy tail: each bar ends at a constant multiple of the one before; zeros have their own.",
    "clipped": "Far outliers: the outermost bars hold the lowest and the highest 1 %, the others are equally wide.",
}
_QUANTILES = ("1 %", "10 %", "25 %", "median", "75 %", "90 %", "99 %")
_LEGEND = (
    "At the right, over time: the median (line) and the 90th percentile (dashed), the share of nulls, and the change "
    "against the first slices, with dashes where it begins to count."
)
_WORTH_LEGEND = " At the bottom what the feature is worth in each slice, with its interval."
_NAMED = 12


def page(profiles: Profiles, pipeline: str, source: str, seed: int) -> str:
    """The page.

    Args:
        profiles: What was found.
        pipeline: The pipeline's name.
        source: What was read, for people.
        seed: Of the sample.
    """
    html = ET.Element("html", lang="en")
    head = element(html, "head")
    element(head, "meta", charset="utf-8")
    element(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    element(head, "meta", name="color-scheme", content="light dark")
    element(head, "title", f"Features of {pipeline}")
    element(head, "style", STYLE)
    body = element(html, "body")
    element(body, "h1", f"Features of {pipeline}")
    span = profiles.begins[-1] - profiles.begins[0]
    times = f"{moment(profiles.begins[0], span)} to {moment(profiles.begins[-1], span)}"
    element(
        body,
        "p",
        f"{counted(len(profiles.features), 'feature')} of {counted(profiles.rows, 'row')}, {times}: {source}.",
        class_="note",
    )
    _summary(body, summary(profiles))
    if profiles.task is not None:
        _label(body, profiles)
    _overview(body, profiles)
    _correlation(body, profiles.correlation, seed)
    element(body, "h2", "Each feature")
    element(body, "p", _LEGEND + _WORTH_LEGEND * (profiles.task is not None), class_="note")
    for one in _ordered(profiles):
        _feature(body, one, profiles)
    _how(body, profiles, seed)
    return "<!doctype html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"


def _summary(body: ET.Element, findings: Sequence[Finding]) -> None:
    found = element(body, "ul", class_="findings")
    for one in findings:
        item = element(found, "li", class_=one.level)
        element(item, "strong", one.text)
        for place, name in enumerate(one.features[:_NAMED] if one.level != "good" else ()):
            element(item, "span", ", " if place else ": ")
            element(item, "a", name, href=f"#{_anchor(name)}")
        if one.level != "good" and len(one.features) > _NAMED:
            element(item, "span", f" and {len(one.features) - _NAMED:,} more")


def _label(body: ET.Element, profiles: Profiles) -> None:
    labelled = sum(rows for _, rows in profiles.classes)
    text = f"{labelled:,} of {profiles.rows:,} rows have a label"
    if profiles.task != "regression" and labelled:
        parts = [f"{label(name)} {rows:,} ({share(rows / labelled)})" for name, rows in profiles.classes if rows]
        text += f": {', '.join(parts)}"
    element(body, "p", f"{text}. Worth is measured on these; the part test of a training set is left out.")


def _ordered(profiles: Profiles) -> list[Profile]:
    """What says most of the label first; without labels, in the order of the rows."""
    return sorted(profiles.features, key=lambda one: 0.0 if one.worth is None else -_strength(one.worth))


def _strength(worth: Worth) -> float:
    return round(max(worth.strength, worth.information.share.estimate if worth.labelled else 0.0), 6)


def _overview(body: ET.Element, profiles: Profiles) -> None:
    element(body, "h2", "All features")
    by = "what they say of the label by themselves" if profiles.task else "their place in the rows"
    element(
        body, "p", f"Ordered by {by}. Change compares each slice of time with the first {REFERENCE}.", class_="note"
    )
    table = element(element(body, "div", class_="wide"), "table", class_="overview")
    row = element(element(table, "thead"), "tr")
    for title in ("feature", "distribution", "null", "change", *(["worth"] if profiles.task else []), ""):
        element(row, "th", title, class_="number" if title == "null" else "")
    rows = element(table, "tbody")
    for one in _ordered(profiles):
        row = element(rows, "tr")
        element(element(row, "td"), "a", one.column.name, href=f"#{_anchor(one.column.name)}")
        cell = element(row, "td")
        charts.spark(cell, [bar.rows for bar in one.bars] or [count for _, count in one.top])
        element(row, "td", share(one.nulls / one.rows), class_="number" if one.nulls else "number note")
        charts.strip(element(row, "td"), one)
        if one.worth is not None:
            _worth_cell(element(row, "td", class_="worth"), one.worth)
        cell = element(row, "td")
        for note in notes(one, profiles):
            element(cell, "span", note.word, class_=f"tag {note.level}", title=note.text)


def _worth_cell(cell: ET.Element, worth: Worth) -> None:
    bar = element(cell, "div", class_="track")
    element(bar, "div", class_="bar", style=f"width: {_strength(worth):.0%}")
    known = worth.value.estimate == worth.value.estimate  # not NaN
    element(cell, "span", f"{_measure(worth)} {worth.value.estimate:.3f}" if known else "too few labels")


def _measure(worth: Worth) -> str:
    return "inf." if worth.measure == "information" else "corr." if worth.measure == "Spearman" else worth.measure


def _correlation(body: ET.Element, correlation: Correlation, seed: int) -> None:
    if len(correlation.names) < 2:
        return
    element(body, "h2", "Which say the same")
    text = (
        f"Spearman's rank correlation of the numeric features, on {counted(correlation.rows, 'row')} drawn with seed "
    )
    element(body, "p", f"{text}{seed}. Features that say the same are next to each other.", class_="note")
    if correlation.groups:
        element(body, "p", f"Of each line, one feature may do: pairs are beyond ±{ALIKE}, directly or in a chain.")
        listed = element(body, "ul")
        for group in correlation.groups:
            item = element(listed, "li")
            for place, name in enumerate(group):
                element(item, "span", ", " if place else "")
                element(item, "a", name, href=f"#{_anchor(name)}")
    else:
        element(body, "p", f"No two features say the same: none are beyond ±{ALIKE}.")
    box = element(body, "div", class_="wide")
    drawn = charts.matrix(box, correlation.names, correlation.matrix)
    legend = "Blue: they rise together. Red: one falls as the other rises. The fainter, the less. Hover for numbers."
    if drawn < len(correlation.names):
        legend += f" Of {len(correlation.names)} features, the {drawn} with the strongest correlations."
    element(body, "p", legend, class_="note")


def _feature(body: ET.Element, one: Profile, profiles: Profiles) -> None:
    card = element(body, "section", class_="feature", id=_anchor(one.column.name))
    title = element(card, "h3", one.column.name)
    element(title, "small", one.column.kind)
    element(card, "p", one.column.description, class_="note")
    for note in notes(one, profiles):
        line = element(card, "p", class_="finding")
        element(line, "span", note.word, class_=f"tag {note.level}")
        element(line, "span", f" {note.text}")
    columns = element(card, "div", class_="columns")
    left, right = element(columns, "div"), element(columns, "div")
    _distribution(left, one)
    if one.worth is not None:
        element(left, "p", _worth_in_words(one.worth))
    charts.over_time(right, one, profiles.begins)


def _distribution(left: ET.Element, one: Profile) -> None:
    nulls = f"null in {share(one.nulls / one.rows)} of the rows" if one.nulls else "never null"
    if one.distinct is not None:
        element(left, "p", f"{_different(one)}, {nulls}.")
        if one.column.personal:
            element(left, "p", _personal(one), class_="note")
        _texts(left, one)
        return
    of = "Lengths of the lists; " if one.column.kind == "list" else ""
    common = ""
    if one.commonest is not None and not one.is_constant and isinstance(one.commonest[0], int | float):
        common = f", {share(one.common_share)} of its values are {shown(one.commonest[0])}"
    text = f"{of}{nulls}{common}."
    element(left, "p", text[0].upper() + text[1:])
    if not one.bars or not one.present:
        return
    charts.histogram(left, one.bars, one.scale)
    element(left, "p", _SCALES[one.scale or "linear"], class_="note small")
    table = element(left, "table", class_="quantiles")
    header, values = element(table, "tr"), element(table, "tr")
    for name, value in zip(("least", *_QUANTILES, "most"), (one.least, *one.quantiles, one.most), strict=True):
        element(header, "th", name)
        element(values, "td", brief(value), title=shown(value))


def _different(one: Profile) -> str:
    count = one.distinct or 0
    if one.column.kind == "category":
        return f"{counted(count, 'different category', 'different categories')}, by their numbers"
    return counted(count, "different text")


def _personal(one: Profile) -> str:
    return (
        "Its texts are not shown: they are hashes of personal data, or not known not to be. The most common one has "
        f"{share(one.common_share)} of the values."
    )


def _texts(left: ET.Element, one: Profile) -> None:
    if not one.top:
        return
    table, most = element(left, "table", class_="texts"), one.top[0][1]
    rest = one.present - sum(rows for _, rows in one.top)
    for text, rows in [*((label(text), rows) for text, rows in one.top), *([("all others", rest)] if rest else [])]:
        row = element(table, "tr")
        element(row, "td", text)
        bar = element(element(row, "td", class_="track-cell"), "div", class_="bar")
        bar.set("style", f"width: {min(rows / most, 1):.0%}")
        element(row, "td", share(rows / one.present), class_="number")


def _worth_in_words(worth: Worth) -> str:
    value, said = worth.value, worth.information.share
    if not worth.labelled or said.estimate != said.estimate:
        return "Worth: no two labels to tell apart."
    informed = f"It takes away {share(said.estimate)} of the uncertainty about the label"
    informed += f" ({share(said.low)} to {share(said.high)})."
    if worth.measure == "information" or value.estimate != value.estimate:
        return f"Worth: {informed[0].lower()}{informed[1:]}"
    way = "greater" if value.estimate >= (0.5 if worth.measure == "AUC" else 0) else "smaller"
    of = "AUC" if worth.measure == "AUC" else "Rank correlation"
    goes = "positive labels" if worth.measure == "AUC" else "greater labels"
    interval = f"{value.estimate:.3f} ({value.low:.3f} to {value.high:.3f})"
    return f"Worth: {of} {interval}, {way} values go with {goes}. {informed}"


def _how(body: ET.Element, profiles: Profiles, seed: int) -> None:
    element(body, "h2", "How to read this")
    listed = element(body, "ul", class_="note")
    sample = f"{counted(profiles.sampled, 'row')} drawn with seed {seed}"
    lines = [
        f"Rows, nulls, extremes, bars and texts are counted on all rows. Where bins end is chosen from {sample}: a "
        "quantile is exact for up to 512 different values, else its rank is off by about 0.2 % of the rows at most.",
        f"Change is the population stability index (PSI) against the first {REFERENCE} of {len(profiles.begins) - 1} "
        "equally long slices of event time, in about ten groups of values and one of nulls. It counts as a change "
        "beyond 0.1, beyond what chance does (1 page in 100 of unchanging, independent features names one), and beyond "
        "twice what the first slices differ among each other, which excuses no more than 0.5. Slices with fewer than "
        f"{LEAST_ROWS} rows are not judged.",
        "Intervals have 95 % and assume independent rows. Rows of one entity resemble each other, so that true "
        "intervals are wider.",
    ]
    if profiles.task is not None:
        lines.append(
            "Worth is of each feature alone. AUC: 0.5 says nothing, 1 and 0 all. The share of information counts "
            "nulls, too, and what rises and falls. Features that say little alone may say much together."
        )
    for line in lines:
        element(listed, "li", line)


def _anchor(name: str) -> str:
    return "f-" + re.sub(r"[^\w.-]", "-", name)
