"""Named, hash-locked sets of package versions: lock, environment, compiler flags, devices."""
