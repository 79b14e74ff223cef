"""git-nn: plain Git for neural-network weights.

Importing this package loads nothing else: Git starts us on every add and checkout,
so each part is imported by the code that uses it.
"""

__version__ = "0.1.0"
