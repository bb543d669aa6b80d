"""A page of results as a reader of its HTML sees it."""

import re
from html.parser import HTMLParser


class WholePage(HTMLParser):
    """Collects text, tags with their attributes, and addresses outside the page.

    Fails for tags that are not closed in order, for different shapes with the same id, and for an id that is missing.
    """

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.addresses, self.tags = [], "", [], []
        self.feed(html)
        assert self.open == []
        definitions = set(re.findall(r'<(?:path|clipPath) id="(\w+)"(.*?)(?:/>|</clipPath>)', html))
        defined = dict(definitions)
        assert len(defined) == len(definitions)
        assert {name for _, name in re.findall(r'(<use[^>]* href="|url\()#(\w+)', html)} <= set(defined)

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.addresses += [v for name, v in attrs if name in ("src", "href") and not v.startswith("#")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data

    def attributes(self, tag, name):
        """The values of an attribute in all tags of a name."""
        return [attrs.get(name) for found, attrs in self.tags if found == tag]
