"""The sandbox battery: scripts that try to run for ever, to eat memory, to crash or to get out."""

from pathlib import Path

ATTACKS = {
    "loop": "x => { while (true); }",
    "loop that catches": "x => { for (;;) { try { while (true); } catch (e) {} } }",
    "microtasks": "async x => { for (;;) await null }",
    "regular expression": "x => ({m: /^(a+)+$/.test('a'.repeat(60) + '!')})",
    "quadratic indexOf": "x => ({i: ('a'.repeat(4e6) + 'c').indexOf('a'.repeat(2e6) + 'b')})",
    "endless sort": "x => { const a = [...Array(2e5).keys()]; for (;;) a.sort(() => Math.random() - .5) }",
    "big integers": "x => { let n = 3n; for (;;) n = n * n }",
    "heap": "x => { const a = []; for (;;) a.push({a: [1, 2, 3], b: 'x'.repeat(100)}) }",
    "array buffers": "x => { const a = []; for (;;) a.push(new ArrayBuffer(1 << 20)) }",
    "growing strings": "x => { const a = []; const s = 'x'.repeat(1e6); for (let i = 0; ; i++) a.push(s + i) }",
    "recursion": "x => { const f = () => f(); return f() }",
    "deep result": "x => { let o = {}, r = o; for (let i = 0; i < 2e5; i++) o = o.a = {}; return r }",
    "deep source": "x => ({v: eval('('.repeat(1e6))})",
    "large result": "x => ({s: 'x'.repeat(2e7)})",
    "Atomics.wait": "x => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); return {} }",
    "WebAssembly": "x => ({w: new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))})",
    "toJSON that hangs": "x => ({toJSON() { while (true); }})",
    "proxy that hangs": "x => new Proxy({}, {ownKeys() { for (;;); }})",
    "host objects": "x => this.constructor.constructor('return process')()",
    "import": "x => import('fs')",
    "filled arrays": "x => { const a = new Float64Array(7e6); for (;;) a.fill(1).sort() }",
}  # fmt: skip

# Code, and what it makes of {"a":1}.
CONTROLS = {
    "x => ({...x, n: [...Array(1000).keys()].reduce((a, b) => a + b)})": '{"a":1,"n":499500}',
    "x => ({at: new Date(0).toISOString(), r: Math.random() < 1})": (
        '{"at":"1970-01-01T00:00:00.000Z","r":true}'
    ),
}


def peak_bytes(pid: int) -> int:
    """The most memory a living process has held."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0")
    return int(line.split()[1]) * 1024
