"""One-line faults put into the modules that decide, each against the tests of its module: `make mutants`."""
