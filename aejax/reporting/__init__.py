"""Reports: tables, pictures and HTML pages of results and audio. Does not import jax."""
