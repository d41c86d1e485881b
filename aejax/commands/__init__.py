"""The commands of ``aejax``: their arguments, and what they do."""
