"""Configuration of Sphinx: `python -m sphinx -W -b html docs docs/_build/html`, from the top of a checkout.

The build goes nowhere online: nothing is linked to other projects' documentation.
"""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "_ext")]

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
VERSION = re.search(r'^version = "(.*)"', PROJECT, re.MULTILINE)

project = "makemore-lightning"
author = "makemore-lightning maintainers"
project_copyright = author
version = release = VERSION[1] if VERSION else ""

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "costs",
    "excerpts",
    "rules",
]
exclude_patterns = ["_build", "README.md"]
nitpicky = False  # types of PyTorch and Lightning have no page here

# Docstrings: Google style, with sections of this project's own, and single backticks around code.
default_role = "code"
highlight_language = "none"  # a block without a language is what a program prints
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = (
    True  # an attribute that a property documents as well is not described twice
)
napoleon_custom_sections = ["Source"]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 60
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries = False

# Markdown
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"  # numbers and pictures on the pages are those of today
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_render_markdown_format = "myst"  # which has tables

html_theme = "furo"
pygments_dark_style = "github-dark"  # furo's own underlines what is no link
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sphinx = False
