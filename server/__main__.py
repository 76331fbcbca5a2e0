"""`python -m roomful.server` is the `roomful` command."""

import sys

from .cli import main

sys.exit(main())
