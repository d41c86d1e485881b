"""The command ``aejax``; ``python -m aejax`` is the same."""

from aejax.runtime import stopping


def main() -> None:
    """Runs the command and ends this process."""
    stopping.listen("run the same command to resume")  # the imports take seconds
    from aejax import cli

    stopping.leave(cli.main())


if __name__ == "__main__":
    main()
