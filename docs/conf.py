"""Sphinx's settings. ``sphinx-build -W docs build/docs`` builds the pages, without a network.

The tutorial, a notebook, is executed on the way; ``-D nb_execution_mode=off`` leaves that out.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# Autodoc imports aejax; neither it nor the notebook needs more than a CPU.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import aejax.experiment  # noqa: F401  registers aejax's own parts

project = "aejax"
html_title = "aejax"
copyright = "the authors of aejax; Apache-2.0"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "names",  # docs/_ext/
    "reference",
]
exclude_patterns = ["_ext"]

# Markdown: ids by `text`{#id}, links to headings of other pages by #heading.
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Notebooks. "auto" executes those without saved outputs, which are all that are Markdown.
nb_execution_mode = "auto"
nb_execution_timeout = 600  # s, of each cell
nb_execution_raise_on_error = True
suppress_warnings = ["myst-nb.lexer"]  # of a notebook that is not executed
nb_execution_in_temp = True  # runs do not land in docs/

# Docstrings name other objects in single backticks.
smartquotes_action = "D"  # dashes; quotes are often Python's
default_role = "py:obj"
nitpicky = True
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# System fonts and no scripts from elsewhere: pages are read without a network, too.
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
