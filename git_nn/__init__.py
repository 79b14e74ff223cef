"""git-nn: plain Git for neural-network weights.

Importing this package loads nothing else: Git starts us on every add and checkout,
so each part is imported by the code that uses it.
"""

__version__ = "0.1.0"

_API = ("Comparison", "Tensor", "Tensors", "diff", "open", "to_keras", "to_torch")


def __getattr__(name: str) -> object:
    """``git_nn.open`` and the rest of git_nn.api, loaded when asked for (PEP 562)."""
    if name in _API:
        from git_nn import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
