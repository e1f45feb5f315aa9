"""`python -m minivgg.gradcheck`"""

import sys

from . import main

sys.exit(main())
