"""Builds HTML and SVG from elements, so that text is escaped and tags are closed."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

Element = ET.Element
Child = Element | str


def el(tag: str, attributes: dict[str, str] | None = None, /, *children: Child) -> Element:
    """An element with attributes and children (elements or text).

    >>> html(el("p", {"class": "note"}, "a < b ", el("b", {}, "so")))
    '<p class="note">a &lt; b <b>so</b></p>'
    """
    return append_children(ET.Element(tag, attributes or {}), children)


def append_children(parent: Element, children: Iterable[Child]) -> Element:
    """Append the children to an element and return it."""
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
