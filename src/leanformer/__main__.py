"""`python -m leanformer`: the command line without its script."""

import sys

from leanformer.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
