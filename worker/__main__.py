"""`python -m worker`, and `oms-relay` where it is installed."""

from worker.process import early


def main() -> None:
    """Hear signals first, then load the commands, which takes a moment, and run one."""
    early.listen()
    early.fill_gaps()
    from worker import cli  # noqa: PLC0415  heavy: a signal must be heard before it

    cli.main()


if __name__ == "__main__":
    main()
