"""Map one file of tensors into memory: safetensors, or what ``torch.save`` wrote."""

from __future__ import annotations

import json
import math
import mmap
import pickle
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from evomerge.errors import UserError
from evomerge.files.json_files import is_pointer, unreadable

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

# safetensors' names of dtypes, without those smaller than a byte, which torch has no tensors of
SAFETENSORS_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
_LARGEST_HEADER = 100 << 20  # safetensors' own limit
# MAP_NORESERVE: without it a private writable mapping counts against the machine's memory, and the kernel refuses a
# file larger than that.
_NORESERVE = 0x4000 if sys.platform == "linux" else 0


@dataclass(frozen=True)
class Extent:
    """A tensor's description and place in its file.

    Attributes:
        start: first byte of its data in the file.
        nbytes: length of its data.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    nbytes: int


class TensorFile(Protocol):
    """Tensors by name; any thread may read at any time."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def __contains__(self, name: object) -> bool: ...

    def tensor(self, name: str) -> torch.Tensor:
        """View of the mapped data; not to be written to."""
        ...

    def dtype(self, name: str) -> torch.dtype: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def release(self, name: str) -> None:
        """Drop the tensor's pages from this process's resident memory; they come back when read again."""
        ...


def open_tensor_file(path: Path) -> TensorFile:
    """Map a file of tensors.

    Raises:
        UserError: the file is missing, damaged or of no known kind.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is no file of weights: wanted one of {', '.join(SUFFIXES)}")
    return SafetensorsFile(path) if path.suffix == ".safetensors" else PickledFile(path)


def equal_values(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors of one shape hold the same numbers, whatever their dtypes."""
    if left.dtype != right.dtype:
        return torch.equal(left.double(), right.double())
    # as integers: not every dtype can be compared, and a NaN differs from itself
    return torch.equal(*(_as_integers(tensor.contiguous().view(-1), left, right) for tensor in (left, right)))


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor of any dtype holds neither NaN nor infinity."""
    if not tensor.dtype.is_floating_point:
        return True
    wide = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    # A sum is many times faster than a test of each entry. An entry that is not finite makes the sum so; large entries
    # may, too.
    return math.isfinite(float(wide.sum())) or bool(wide.isfinite().all())


def _as_integers(flat: torch.Tensor, *pair: torch.Tensor) -> torch.Tensor:
    """The bytes of ``flat`` as the widest integers that both tensors of ``pair`` can be seen as."""
    starts = [tensor.storage_offset() * tensor.element_size() for tensor in pair]
    wide = not any(number % 8 for number in (*starts, flat.nbytes))
    return flat.view(torch.int64 if wide else torch.uint8)


class SafetensorsFile:
    """A safetensors file, mapped as a whole; tensors are views, and reading a header costs no data."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                # copy on write: a stray write cannot reach the file
                self._map = mmap.mmap(
                    file.fileno(),
                    0,
                    flags=mmap.MAP_PRIVATE | _NORESERVE,
                    prot=mmap.PROT_READ | mmap.PROT_WRITE,
                )
            self._stored = _read_header(self._map)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise unreadable(path, error) from error

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._stored)

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def tensor(self, name: str) -> torch.Tensor:
        at = self._stored[name]
        if at.nbytes == 0:
            return torch.empty(at.shape, dtype=at.dtype)
        if at.start % at.dtype.itemsize:  # files of other writers may be unaligned; views need aligned data
            data = torch.frombuffer(bytearray(self._map[at.start : at.start + at.nbytes]), dtype=at.dtype)
        else:
            count = at.nbytes // at.dtype.itemsize
            data = torch.frombuffer(self._map, dtype=at.dtype, count=count, offset=at.start)
        return data.view(at.shape)

    def dtype(self, name: str) -> torch.dtype:
        return self._stored[name].dtype

    def shape(self, name: str) -> tuple[int, ...]:
        return self._stored[name].shape

    def release(self, name: str) -> None:
        at = self._stored[name]
        if at.nbytes:
            start = at.start - at.start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, start, at.start + at.nbytes - start)


class PickledFile:
    """A file of torch.save: a state dict, or a dict with one under ``state_dict``. No code in it is run."""

    def __init__(self, path: Path) -> None:
        content = _unpickle(path)
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
        if not isinstance(content, dict):
            raise UserError(f"{path} holds a {type(content).__name__}, wanted a state dict: save model.state_dict()")
        for name, value in content.items():
            if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
                kind = type(value).__name__ if not isinstance(value, torch.Tensor) else "sparse or quantized tensor"
                raise UserError(
                    f"{path} holds a {kind} under '{name}', wanted plain tensors only: save model.state_dict()"
                )
        self._tensors: dict[str, torch.Tensor] = {str(name): value.detach() for name, value in content.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def tensor(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def dtype(self, name: str) -> torch.dtype:
        return self._tensors[name].dtype

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def release(self, name: str) -> None:
        """Does nothing: torch owns the mapping."""


def _read_header(data: mmap.mmap) -> dict[str, Extent]:
    """Description of every tensor, in the file's order. Raises ValueError for a header that is not valid."""
    size = len(data)
    length = int.from_bytes(data[:8], "little")
    begin = 8 + length
    if size < 8 or length > _LARGEST_HEADER or begin > size:
        raise ValueError("it is no complete safetensors file")
    header: dict[str, Any] = json.loads(data[8:begin])
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    stored = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise ValueError(f"'{name}' has dtype {entry['dtype']}, which torch has no tensors of")
        dtype, shape = SAFETENSORS_DTYPES[entry["dtype"]], tuple(int(n) for n in entry["shape"])
        first, last = entry["data_offsets"]
        if min(shape, default=0) < 0:
            raise ValueError(f"'{name}' has the shape {list(shape)}")
        if last - first != math.prod(shape) * dtype.itemsize or first < 0 or begin + last > size:
            raise ValueError(f"the data of '{name}' is not all there")
        stored[name] = Extent(dtype, shape, begin + first, last - first)
    return stored


def _unpickle(path: Path) -> Any:
    if is_pointer(path):
        raise unreadable(path, ValueError("it is no pickle"))
    try:
        # torch before 1.6 wrote no zip files; those cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # torch raises the same for a damaged file; its text names the classes that it would not run
        reason = next(
            (line.strip() for line in str(error).splitlines() if "Unsupported" in line or "GLOBAL" in line), ""
        )
        raise UserError(
            f"{path} cannot be read as plain tensors ({reason or 'it is damaged'}), and code in a pickle is never run: "
            "save it again with torch.save(model.state_dict()) or as safetensors"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise unreadable(path, ValueError(reason)) from error
