"""Ray's workers, of which tests kill dozens, import without garbage collection, which saves a third of their start."""

import gc

gc.set_threshold(100_000)
