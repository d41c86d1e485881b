"""The command ``aejax``; ``python -m aejax`` is the same."""

from aejax.runtime import stopping


def main() -> None:
    """Runs it, and ends this process."""
    stopping.listen("the same command goes on from there")  # the imports take seconds
    from aejax import cli

    stopping.leave(cli.main())


if __name__ == "__main__":
    main()
