"""The sandbox's program: lock down, then run one function after the other, each in an engine of its own."""

import os
import signal
import sys

import _quickjs

from hubblewave_pipelines.delivery.sandbox import lockdown, wire
from hubblewave_pipelines.delivery.sandbox.wire import Outcome

_SOCKET = 0  # the only descriptor there is
_HEADROOM = 32 << 20  # input, output and engine besides the script's own memory
_CPU_SECONDS = 120
_OWN_DEADLINE = wire.SECONDS + 2  # when nobody is left who would kill this process
_MAX_TEXT = 2000

# Made before the tenant's code runs, so that it works on what JSON was then. It answers the JSON, or
# the place in _UNFIT of what was returned instead: joined strings cannot leave the engine.
# `instanceof` and `length` can be fooled; the keeper checks the text by itself.
_CALLER = """
(function () {
  const parse = JSON.parse, stringify = JSON.stringify, Pledge = Promise;
  const kinds = ['undefined', 'boolean', 'number', 'string', 'symbol', 'bigint', 'function'];
  return function (transform, text, limit) {
    if (typeof transform !== 'function') throw new TypeError('not a function: write (payload) => ({...})');
    const result = transform(parse(text));
    if (result === null) return 7;
    if (typeof result !== 'object') return kinds.indexOf(typeof result);
    if (result instanceof Pledge) return 8;
    const json = stringify(result);
    if (typeof json !== 'string') return 9;
    return json.length > limit ? 10 : json;
  };
})()
"""
_UNFIT = (
    "undefined",
    "a boolean",
    "a number",
    "a string",
    "a symbol",
    "a bigint",
    "a function",
    "null",
    "a promise, and async functions cannot be used",
    "an object that has no JSON",
    f"more than {wire.MAX_OUTPUT} characters of JSON",
)
# Everything that reads a file or asks for memory when used first: time zones, tables, locales.
_WARM_UP = "(p) => ({d: String(new Date()), r: /\\p{L}+/u.test('ä'), n: (2n ** 64n).toString(), p})"


def main() -> None:
    """Serve until the other end closes. `weak` as argument goes on where lock-down is impossible."""
    run(_WARM_UP, "{}")
    os.closerange(1, 256)
    try:
        lockdown.limit_resources(wire.MEMORY_BYTES + _HEADROOM, _CPU_SECONDS)
        lockdown.forbid_system_calls()
    except (lockdown.CannotLockDown, OSError, ValueError) as error:
        _send(Outcome.WEAK, str(error).encode())
        if sys.argv[1:] != ["weak"]:
            return
    else:
        _send(Outcome.READY, b"")
    while (head := _receive(wire.REQUEST.size)) is not None:
        code_bytes, input_bytes = wire.REQUEST.unpack(head)
        code, text = _receive(code_bytes), _receive(input_bytes)
        if code is None or text is None:
            return
        signal.setitimer(signal.ITIMER_REAL, _OWN_DEADLINE)  # SIGALRM is left deadly
        outcome, answer = run(code.decode(), text.decode())
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(outcome, answer.encode("utf-8", "replace"))


def run(code: str, text: str) -> tuple[Outcome, str]:
    """Call the function that `code` is with the value that the JSON `text` is, in a fresh engine."""
    try:
        context = _quickjs.Context()
        context.set_memory_limit(wire.MEMORY_BYTES)
        context.set_max_stack_size(wire.STACK_BYTES)
        context.set_time_limit(wire.SECONDS)
        caller = context.eval(_CALLER)
        function = context.eval(f"({code.strip().rstrip(';')}\n)")
        answer = caller(function, text, wire.MAX_OUTPUT)
    except _quickjs.StackOverflow:
        return Outcome.ERROR, "too much recursion"
    except _quickjs.JSException as error:
        said = str(error).strip()
        if said.startswith("InternalError: interrupted"):
            return Outcome.OUT_OF_TIME, ""
        if said == "null" or said.startswith("InternalError: out of memory"):
            return Outcome.OUT_OF_MEMORY, ""  # there was no memory left for the error either
        return Outcome.ERROR, said[:_MAX_TEXT]
    except MemoryError:
        return Outcome.OUT_OF_MEMORY, ""
    except (TypeError, ValueError) as error:  # the binding cannot carry what the script made
        return Outcome.ERROR, str(error)[:_MAX_TEXT]
    if isinstance(answer, str):
        return Outcome.RESULT, answer
    return Outcome.RESULT_UNFIT, _UNFIT[int(answer)]


def _receive(size: int) -> bytes | None:
    got = bytearray()
    while len(got) < size:
        piece = os.read(_SOCKET, size - len(got))
        if not piece:
            return None
        got += piece
    return bytes(got)


def _send(outcome: Outcome, text: bytes) -> None:
    left = memoryview(wire.REPLY.pack(outcome, len(text)) + text)
    while left:
        left = left[os.write(_SOCKET, left) :]
