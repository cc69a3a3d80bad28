"""Elements of HTML and SVG, escaped and well-formed by construction."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

Element = ET.Element
Child = Element | str


def el(tag: str, attributes: dict[str, str] | None = None, /, *children: Child) -> Element:
    """An element with its attributes and, in order, its children: elements or text.

    >>> html(el("p", {"class": "note"}, "a < b ", el("b", {}, "so")))
    '<p class="note">a &lt; b <b>so</b></p>'
    """
    return extended(ET.Element(tag, attributes or {}), children)


def extended(parent: Element, children: Iterable[Child]) -> Element:
    """The element itself, with these children after those that it has."""
    for child in children:
        if not isinstance(child, str):
            parent.append(child)
        elif len(parent):
            parent[-1].tail = (parent[-1].tail or "") + child
        else:
            parent.text = (parent.text or "") + child
    return parent


def html(element: Element) -> str:
    """The element as HTML text."""
    return ET.tostring(element, encoding="unicode", method="html")
