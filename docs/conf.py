"""How Sphinx builds the site. `docs/build.py` prepares the pages first; run that."""

from __future__ import annotations

import lossbench

project = "lossbench"
author = "The lossbench authors"
copyright = "2026, The lossbench authors"  # noqa: A001  Sphinx's name
version = release = lossbench.__version__

extensions = ["myst_nb", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "README.md"]
language = "en"

html_theme = "furo"
html_title = "lossbench"
html_static_path = ["_static"]
html_extra_path = ["_extra"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

# Everything comes from the page's own folder: no content delivery network, no fonts from elsewhere.
mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {"options": {"enableMenu": False}}
nb_ipywidgets_js: dict[str, object] = {}

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None),  # a widget needs a kernel; its still picture does not
    ("html", "text/markdown", 0),
    ("html", "image/png", 5),
]
nb_code_prompt_show = "Show {type}"
