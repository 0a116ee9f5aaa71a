"""A suite of small tests through importer, compiler and runtime: what ``conformance`` is made of."""
