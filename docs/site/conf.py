"""The site: the project's Markdown files as they are, with formulas, source pages and the docstrings.

    pip install -e ".[docs]" && sphinx-build -c docs/site -W --keep-going . build/site

The project's folder is what Sphinx reads, so that a link from one file to another leads where it leads in the files.
"""

import sys
from pathlib import Path

SITE = Path(__file__).resolve().parent
sys.path[:0] = [str(SITE), str(SITE.parent.parent)]  # our extensions; the project that is documented

import sources  # noqa: E402

project = "minivgg-style"
html_title = project
root_doc = "README"
texts = [f"{folder}/**.md" for folder in sources.FOLDERS if folder != "docs"]
include_patterns = ["*.md", "docs/*.md", "docs/site/road.md", "docs/site/**.rst", *texts]
exclude_patterns = [".*", "build", "dist", "**/__pycache__", "*.egg-info"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "formulas", "sources", "signposts", "docstrings", "pages"]
html_math_renderer = "formulas"

myst_heading_anchors = 4
suppress_warnings = [
    "myst.header",
    "ref.python",
]  # parts of pages begin at lower headings; two classes are called State
highlight_language = "none"  # of what names none: tables in docstrings
smartquotes = False  # the text is the file's
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures: NumPy's and our own short names

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_mock_imports = ["mpi4py"]  # an extra
autodoc_typehints = "none"  # a docstring says what each thing is; "Any" for an array says less
add_module_names = False
toc_object_entries = False  # or every page copies every function's entry

html_theme = "furo"
html_static_path = ["static"]
templates_path = ["templates"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False  # the search finds more
html_domain_indices = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "default"
pygments_dark_style = "monokai"
