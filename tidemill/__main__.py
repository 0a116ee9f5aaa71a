"""``python -m tidemill``: the command line without an installed script."""

from tidemill.cli import main

main()
