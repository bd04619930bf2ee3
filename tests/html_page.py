"""A page of HTML, as far as tests look at it."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collect ids, links and figure texts, and check that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.open, self.svgs, self.outside = [], [], [], []
        self.links, self.captions, self.headings = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.svgs += [values] if tag == "svg" else []
        self.links += [values["href"][1:]] if tag == "a" and values["href"].startswith("#") else []
        for name in ("src", "href", "xlink:href"):
            if name in values and not values[name].startswith("#"):
                self.outside.append(values[name])
        if tag == "figcaption":
            self.captions.append("")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_data(self, text):
        if "figcaption" in self.open:
            self.captions[-1] += text

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
