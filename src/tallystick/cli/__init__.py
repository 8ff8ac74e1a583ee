"""The command line: `tallystick`."""

from tallystick.cli.exits import Exit

__all__ = ["Exit", "main"]


def main() -> None:
    """Run the command line with the arguments of the process, and exit."""
    from tallystick.cli.app import run

    raise SystemExit(run())
