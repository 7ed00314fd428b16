"""`chorale`, and `python -m agents`."""

from __future__ import annotations

import sys

from agents.cli.app import application


def main() -> None:
    """Run the command line."""
    application(sys.argv[1:])()


if __name__ == "__main__":
    main()
