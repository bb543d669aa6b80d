"""A page of results as a reader of its HTML sees it."""

from html.parser import HTMLParser


class WholePage(HTMLParser):
    """Fails for tags that are not closed in order; collects text and addresses."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.addresses = [], "", []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data
