"""The subcommands of ``aejax``: their arguments, and the functions that run them."""
