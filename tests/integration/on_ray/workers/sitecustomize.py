"""Ray's workers, of which tests kill dozens, look for no garbage while they import: a third of their start."""

import gc

gc.set_threshold(100_000)
