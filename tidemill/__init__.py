"""tidemill: model sources in; validated MLIR, parameter and VMFB artifacts out, every night.

Importing this package loads nothing but the standard library.
"""

__version__ = "0.1.0"
