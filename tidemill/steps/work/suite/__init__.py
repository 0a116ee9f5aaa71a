"""A suite of small tests through importer, compiler and runtime: the parts of ``conformance``."""
