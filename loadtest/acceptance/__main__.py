"""python -m loadtest.acceptance"""

import sys

from loadtest.acceptance.command import main

if __name__ == "__main__":
    sys.exit(main())
