"""`python -m style` is `python -m style.run`."""

import sys

from .run import main

sys.exit(main())
