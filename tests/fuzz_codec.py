"""Coverage-guided fuzzing of every entry point of the codec that sees outside bytes (atheris, libFuzzer).

    python tests/fuzz_codec.py --seconds 30            each target for half a minute, two at a time (--jobs 1: one)
    python tests/fuzz_codec.py --target gs1 --seconds 5

A target fails on any exception but InvalidCode, on a difference between the twins, on 1 GiB of memory, and on five
seconds for one input. What made it fail is written beside the reports; `--target T --replay FILE` runs it again. The
seconds are libFuzzer's, of the clock on the wall: a process that somebody stopped fails too, and its replay is quick.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

if "hammer_codec" in sys.modules["__main__"].__dict__.get("__file__", ""):
    watched: Any = nullcontext()  # tests/hammer_codec.py wants the targets at their own speed
else:
    import atheris

    watched = atheris.instrument_imports(include=["handle_codec"])

with watched:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    from handle_codec import _speed, pure, recognise
    from handle_codec.errors import InvalidCode, UnreadableContent
    from handle_codec.plans import Bound, FieldPlan, LotPlan, Pair, RowPlan
    from handle_codec.serials import SerialKey, with_check_character, without_check_character

REPORTS = Path(__file__).parents[1] / "reports"
HOSTS = frozenset({"id.example.com"})
KEY = bytes(range(16))
UPDATE_INTO = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor().update_into
PLAN = RowPlan(
    "88.999.1001",
    7,
    16,
    frozenset({"pear@1"}),
    (
        FieldPlan("name", "text", 1, 64),
        FieldPlan("n", "number", low=-1000.0, high=1000.0),
        FieldPlan("i", "integer", low=0.0, high=2.0**53 - 1),
        FieldPlan("b", "bool"),
        FieldPlan("e", "enum", words=("优", "一")),
        FieldPlan("d", "day", most=10, words=("无",)),
        FieldPlan("t", "moment", most=40),
        FieldPlan("f", "file", most=512),
        FieldPlan("r", "reference", most=255),
        FieldPlan("g", "gtin", most=14),
        FieldPlan("o", "other"),
    ),
    (
        LotPlan("LOT-1", needs=frozenset({"n"}), bounds=(Bound("d", "2024-01-01"),), pairs=(Pair("d", "t", True),)),
        LotPlan("", True),
    ),
)
SERIALS = SerialKey("88.999.1001", "V", KEY)

SEEDS = {
    "handles": ["88.999.1/A", "hdl:８８.999.1 A", "https://id.example.com/?id=88.999.1/A", "]Q188.999.1/A", "88.999.1/酥/..", "88.999.1/META_1"],
    "batches": ["88.999.1/A\n88.999.1/b\r\n\n99/x\n88.118.8/JXDY2106023", " hdl:88.999.1/A \nhttps://id.example.com/88.999.1/C"],
    "gs1": ["(01)06901234567892(10)A(21)B", "]C101069012345678921726123110A\x1d211", "8006069012345678920102", "6901234567892"],
    "links": ["https://e.com/a/01/06901234567892/22/1/10/A%2F/21/1?17=261231&3103=000195#x", "http://e.com/00/106141412345678908"],
    "rows": ['{"handle":"88.999.1001/C-1","lot":"LOT-1","attributes":{"n":5.50,"name":"梨","d":"2024-02-29"}}\n{"handle":7}',
             '{"handle":"88.999.1001/C-2","template":"pear@1","attributes":{"i":3,"b":true,"e":"优","r":"88.999.1001/A",'
             '"t":"2024-09-13T09:41:05+08:00","f":"sha256:0","g":"6901234567892"}}'],
    "schemes": ["did:bid:efnVUgqQFfYeu97ABf6sGm3WFtVXHZB2", "urn:oid:1.2.156", "91110108589104047H", "(7003)2612311200",
                "10.1000/182", "MA.156.M0.1", "VAA1", "81234567890123456789", "https://e.com/01/06901234567892/235/T"],
    "serials": ["V8CQN3C64A5PS5\nVTWQWVWDX70Y7Q", "v8cqn3c64a5pso", "A12425GABC1234002M"],
    "contents": ['{"attributes":{"carton_id":"C1","no_name":"x","ssc_pct":10.80,"grade":"","qc":"a\\"b","x":[{"y":"}"}]},"values":[]}',
                 "\x013\x02C1\x24\x84true\xff\x01a\x01b\x00,}"],
    "shards": ["LC-2026-HARVEST-00001", "x" * 100],
}  # fmt: skip


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except InvalidCode as error:
        return type(error), error.code, error.position


def same(name: str, *arguments: Any) -> None:
    ours, theirs = (outcome(getattr(twin, name), *arguments) for twin in (_speed, pure))
    if ours != theirs:
        raise AssertionError(f"{name}{arguments!r}: compiled {ours!r}, pure {theirs!r}")


def columns_of(columns: Any) -> Any:
    errors = [(row, error.code, error.position) for row, error in columns.errors]
    return columns.buffer, columns.starts.tobytes(), columns.slashes.tobytes(), columns.ends.tobytes(), errors


def text_of(data: bytes) -> str:
    """Text with anything in it, lone surrogates too."""
    return data.decode("utf-8", "surrogateescape")


def handles(data: bytes) -> None:
    text = text_of(data)
    for name in ("parse", "parse_issued", "is_prefix"):
        same(name, text)
    same("normalise", text, HOSTS)
    mended = outcome(pure.normalise, text, HOSTS)
    if isinstance(mended, str):
        assert pure.normalise(mended) == mended, text


def batches(data: bytes) -> None:
    for issued in (False, True):
        ours, theirs = (twin.parse_batch(data, issued) for twin in (_speed, pure))
        assert columns_of(ours) == columns_of(theirs), data
        assert _speed.shard_batch(ours, 5, 16) == pure.shard_batch(theirs, 5, 16), data
    assert columns_of(_speed.normalise_batch(data, HOSTS)) == columns_of(pure.normalise_batch(data, HOSTS)), data


def gs1(data: bytes) -> None:
    text = text_of(data)
    same("parse_elements", text)
    same("gtin14", text)


def links(data: bytes) -> None:
    same("parse_digital_link", text_of(data))


def schemes(data: bytes) -> None:
    for text in (data, text_of(data)):
        found = outcome(lambda text=text: recognise(text, hosts=HOSTS, nsi=frozenset({"0100"})))
        if isinstance(found, list):
            for candidate in found:
                # What is canonical is read as itself.
                scheme = candidate.scheme.replace("elements", "digital_link")
                assert recognise(candidate.canonical, scheme=scheme)[0].canonical == candidate.canonical, (text, found)


def serials(data: bytes) -> None:
    same("open_lines", UPDATE_INTO, KEY, ord("V"), data)
    text = text_of(data)
    same("open_serial", UPDATE_INTO, KEY, text)
    outcome(SERIALS.counter_of, text)
    same("is_serial", text)
    same("fold_serial", text)
    folded = pure.fold_serial(text)
    assert pure.fold_serial(folded) == folded
    assert pure.is_serial(folded) == pure.is_serial(text)
    for checked in (outcome(without_check_character, text), outcome(with_check_character, text)):
        assert isinstance(checked, str | tuple)


def rows(data: bytes) -> None:
    found = []
    for twin in (_speed, pure):
        batch = twin.decode_rows(PLAN, data, 0, 0, 300)
        order, doubles = twin.sort_rows(batch)
        columns = (batch.rows, batch.lines, batch.shards, batch.suffixes, batch.lots, batch.contents, batch.ends, order)
        found.append(
            (
                batch.buffer,
                [column.tobytes() for column in columns],
                batch.unsure,
                doubles,
                twin.copy_rows(batch, order, 5, 6, 7),
                (batch.row_count, batch.line_count),
                (twin.line_count(data), twin.lots_named(data)),
            )
        )
    assert found[0] == found[1], data


def contents(data: bytes) -> None:
    for plain in (data, b'{"attributes":{' + data):
        stored = pure.shorten_content(plain)
        assert stored == _speed.shorten_content(plain), plain
        if plain.startswith(b"{"):
            assert pure.restore_content(stored) == plain, plain
    for stored in (data, b"\x01" + data):
        found = []
        for twin in (_speed, pure):
            try:
                found.append(twin.restore_content(stored))
            except UnreadableContent as error:
                found.append((error.what, error.position))
        assert found[0] == found[1], stored


def shards(data: bytes) -> None:
    same("hash64", data)
    text = data.decode("utf-8", "replace")
    same("shard_of", text, 1000, 64)
    same("shards_of", [text, text], 7, 2)
    same("is_reserved", "88.999.1", text)


def planted(data: bytes) -> None:
    """A difference that is there on purpose: a run in which libFuzzer does not find it proves nothing."""
    if data[:2] == b"88" and pure.hash64(data) != _speed.hash64(data[::-1]):
        raise AssertionError("planted")


TARGETS = {f.__name__: f for f in (handles, batches, gs1, links, rows, contents, schemes, serials, shards)}
PLANTED = {"planted": planted}


def run_one(name: str, arguments: list[str]) -> None:
    atheris.Setup(["fuzz", *arguments], (TARGETS | PLANTED)[name])
    atheris.Fuzz()


def run_apart(name: str, seconds: int) -> tuple[str, int, int, int, int, str]:
    """(target, exit code, inputs, MiB after the first reading, MiB at the end, what it said) of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(SEEDS.get(name, ["x"])):
            (Path(folder) / str(number)).write_text(seed)
        command = [sys.executable, __file__, "--target", name, "--", folder, f"-max_total_time={seconds}"]
        command += ["-max_len=400", "-rss_limit_mb=1024", "-timeout=5", f"-artifact_prefix={REPORTS}/fuzz-{name}-"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    counts = re.findall(r"Done (\d+) runs|^#(\d+)\s", done.stderr, re.MULTILINE)  # the second: of one that failed
    runs = max((int(a or b) for a, b in counts), default=0)
    memory = [int(found) for found in re.findall(r"rss: (\d+)Mb", done.stderr)] or [0]
    return name, done.returncode, runs, memory[0], memory[-1], done.stderr[-3000:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30, help="for each target (default 30)")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (default 2)")
    parser.add_argument(
        "--target", choices=[*TARGETS, *PLANTED], help="one target in this process; libFuzzer's options behind --"
    )
    parser.add_argument("--replay", type=Path, help="run one input through the target and stop")
    arguments, rest = parser.parse_known_args()
    if arguments.target and arguments.replay:
        TARGETS[arguments.target](arguments.replay.read_bytes())
        return 0
    if arguments.target:
        run_one(
            arguments.target, [option for option in rest if option != "--"] or [f"-max_total_time={arguments.seconds}"]
        )
        return 0
    REPORTS.mkdir(exist_ok=True)
    if "planted" not in run_apart("planted", 60)[5]:
        print("libFuzzer did not find the planted difference")
        return 1
    for artefact in REPORTS.glob("fuzz-planted-*"):
        artefact.unlink()
    print("the planted difference was found; now the targets")
    total, failed = 0, False
    print(f"{'target':10} {'inputs':>12} {'MiB first':>10} {'MiB last':>9}  result")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for name, code, runs, first, last, said in pool.map(lambda name: run_apart(name, arguments.seconds), TARGETS):
            total += runs
            failed = failed or code != 0 or runs == 0
            print(f"{name:10} {runs:>12,} {first:>10} {last:>9}  {'ok' if code == 0 and runs else said}", flush=True)
    print(f"{'together':10} {total:>12,}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
