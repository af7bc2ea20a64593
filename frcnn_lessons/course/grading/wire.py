"""What goes over the pipe between the instructor's process and a student's: plain values as JSON, never a pickle.

A message is four bytes of length and so many bytes of JSON. Tensors and arrays are their bytes in base64. What comes
from a student's process may be anything, so `decoded` and `receive` believe no length and no type.
"""

import base64
import json
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import torch

LONGEST = 16 * 2**20  # bytes of a message
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


class NotPlain(TypeError):
    """A value that is neither numbers nor text, nor lists and dicts of them; the message names its type."""


class BadMessage(ValueError):
    """Bytes that are no message of ours, or too many."""


def one_line(text: str, most: int = 1000) -> str:
    """Text from a stranger as one line to print and write: no control signs, no halves of signs, at most so long."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:most])


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write a message.

    Raises:
        BadMessage: it is longer than `LONGEST`.
    """
    data = json.dumps(message).encode()
    if len(data) > LONGEST:
        raise BadMessage(f"an answer of {len(data)} bytes is longer than {LONGEST}")
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read a message; None at the end of the stream.

    Raises:
        BadMessage: what came is none.
    """
    head = stream.read(4)
    if len(head) < 4:
        return None
    (length,) = struct.unpack(">I", head)
    if length > LONGEST:
        raise BadMessage(f"a message of {length} bytes is longer than {LONGEST}")
    data = stream.read(length)
    if len(data) < length:
        return None
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadMessage("what was written to the pipe is no JSON") from error
    if not isinstance(message, dict):
        raise BadMessage("what was written to the pipe is no message")
    return message


def encoded(value: Any, functions: list[Callable[..., Any]] | None = None) -> Any:
    """A value as JSON can hold it.

    Args:
        functions: gets the functions among the values, which the other side calls back by number; None refuses them.

    Raises:
        NotPlain: it holds something else than numbers, text, tensors, generators, lists, tuples, sets and dicts.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if value is ...:
        return {"is": "..."}
    if isinstance(value, torch.Tensor):
        if value.grad_fn is not None and functions is not None:
            raise NotPlain("a tensor with a graph of gradients")
        array = value.detach().cpu()
        array = array.half() if array.dtype == torch.bfloat16 else array
        return _array(array.resolve_conj().numpy()) | {"is": "tensor", "gradient": value.requires_grad}
    if isinstance(value, np.generic):
        return encoded(value.item())
    if isinstance(value, np.ndarray):
        return _array(value) | {"is": "array"}
    if isinstance(value, torch.Generator):
        return _array(value.get_state().numpy()) | {"is": "generator"}
    if isinstance(value, dict):
        return {"is": "dict", "pairs": [[encoded(k, functions), encoded(v, functions)] for k, v in value.items()]}
    if isinstance(value, list):
        return [encoded(one, functions) for one in value]
    if isinstance(value, (tuple, set, frozenset)):
        kind = "tuple" if isinstance(value, tuple) else "set"
        return {"is": kind, "parts": [encoded(one, functions) for one in value]}
    if hasattr(value, "numerator") and hasattr(value, "denominator"):
        return float(value)  # a fraction
    if functions is not None and callable(value) and not isinstance(value, torch.nn.Module):
        functions.append(value)
        return {"is": "function", "number": len(functions) - 1}
    raise NotPlain(f"a {type(value).__name__}")


def _array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.name not in DTYPES:
        raise NotPlain(f"an array of {array.dtype.name}")
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def decoded(value: Any, call: Callable[[int], Callable[..., Any]] | None = None) -> Any:
    """The value that `encoded` made this of.

    Args:
        call: makes a function of its number; None refuses functions, as the instructor's side does.

    Raises:
        BadMessage: nothing that `encoded` makes.
    """
    try:
        return _decoded(value, call)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, RecursionError, MemoryError) as error:
        raise BadMessage("what was written to the pipe stands for no value") from error


def _decoded(value: Any, call: Callable[[int], Callable[..., Any]] | None) -> Any:
    if isinstance(value, list):
        return [_decoded(one, call) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value["is"]
    if kind == "...":
        return ...
    if kind == "dict":
        return {_decoded(k, call): _decoded(v, call) for k, v in value["pairs"]}
    if kind in ("tuple", "set"):
        parts = [_decoded(one, call) for one in value["parts"]]
        return tuple(parts) if kind == "tuple" else set(parts)
    if kind == "function" and call is not None:
        return call(int(value["number"]))
    if kind not in ("tensor", "array", "generator") or value["dtype"] not in DTYPES:
        raise ValueError(kind)
    array = np.frombuffer(base64.b64decode(value["data"]), value["dtype"]).reshape(value["shape"]).copy()
    if kind == "array":
        return array
    tensor = torch.from_numpy(array)
    if kind == "generator":
        generator = torch.Generator()
        generator.set_state(tensor)
        return generator
    return tensor.requires_grad_(value["gradient"] is True)


def change(old: Any, new: Any) -> None:
    """Do to an input what a copy of it suffered on the other side."""
    if isinstance(old, torch.Generator) and isinstance(new, torch.Generator):
        old.set_state(new.get_state())
    elif isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
        old.data = new.detach()
    elif isinstance(old, list) and isinstance(new, list):
        old[:] = new
    elif isinstance(old, dict) and isinstance(new, dict):
        old.clear()
        old.update(new)
    elif hasattr(old, "shape") and hasattr(new, "shape") and old.shape == new.shape:
        old[...] = new
