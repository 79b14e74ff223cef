"""tensors: a version of a weight file as a mapping for Python programs; see git_nn.api.

Nothing is read until values are asked for, and then no more than is asked for: a slice along
the first dimension reads the segments that hold it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from git_nn.model import Model
from git_nn.objects.names import escape
from git_nn.objects.pointer import Pointer
from git_nn.objects.tensor import Shape

if TYPE_CHECKING:
    from numpy import dtype
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Tensor:
    """One tensor, not read yet. ``numpy.asarray(tensor)`` or ``tensor.numpy()`` reads it whole.

    ``tensor[i]``, ``tensor[a:b]`` and ``tensor[a:b, ...]`` read only that part of the first
    dimension; any other index reads the tensor and then takes what numpy would. Reading
    raises MissingObjectError for a tensor that is not in the store, and ValueError for one
    that the container keeps in a form that cannot be decoded (such as HDF5's lzf filter).
    """

    name: str
    model: Model

    @property
    def shape(self) -> Shape:
        return self.model.pointer.by_name[self.name].shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def type(self) -> str:
        """The dtype as git-nn names it, such as ``bf16`` or ``q4_k``."""
        return self.model.pointer.by_name[self.name].dtype

    @property
    def dtype(self) -> dtype[Any]:
        """The dtype of the array that is read; quantised blocks are read as f32."""
        import numpy as np

        from git_nn.arrays import numpy_dtype
        from git_nn.objects.tensor import BLOCKS

        return np.dtype(np.float32) if self.type in BLOCKS else numpy_dtype(self.type)

    def numpy(self) -> NDArray[Any]:
        return self._known(self.model.array(self.name))

    def tobytes(self) -> bytes:
        return self.numpy().tobytes()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        import numpy as np

        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a scalar has no length")
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        first, *rest = index if isinstance(index, tuple) and index else (index,)
        if self.shape and isinstance(first, slice) and first.step in (None, 1):
            start, stop, _ = first.indices(self.shape[0])
            return self._rows(start, max(start, stop))[(slice(None), *rest)]
        if self.shape and isinstance(first, int) and -len(self) <= first < len(self):
            row = first % self.shape[0]
            return self._rows(row, row + 1)[(0, *rest)]
        return self.numpy()[index]

    def _rows(self, start: int, stop: int) -> NDArray[Any]:
        return self._known(self.model.rows(self.name, start, stop))

    def _known(self, array: NDArray[Any] | None) -> NDArray[Any]:
        if array is None:
            raise ValueError(f"{escape(self.name)}: stored in a form that cannot be decoded")
        return array

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.type}, shape={self.shape})"


class Tensors(Mapping[str, Tensor]):
    """The tensors of one version by name, in the order of the pointer."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def pointer(self) -> Pointer:
        """Names, dtypes, shapes and content ids; costs no read."""
        return self.model.pointer

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.model.pointer.by_name:
            raise KeyError(name)
        return Tensor(name, self.model)

    def __iter__(self) -> Iterator[str]:
        return iter(self.model.names())

    def __len__(self) -> int:
        return len(self.model.pointer.entries)

    def __repr__(self) -> str:
        return f"<{len(self)} tensors, {self.pointer.format}>"

    def structure(self) -> dict[str, Any]:
        """What the file says about the model: configuration and metadata."""
        return self.model.structure()

    def write(self, path: Path | str) -> None:
        """Write the whole file, byte for byte; FileExistsError where ``path`` exists."""
        self.model.write(Path(path))
