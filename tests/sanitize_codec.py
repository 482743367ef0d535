"""Build the compiled twin with gcc's address and undefined-behaviour sanitizers, apart from the installed one, and run
the codec's tests on it. `make sanitize` calls this; arguments go to pytest.

PYTHONMALLOC=malloc gives every Python object its own fence. Leaks at exit are not asked for: CPython keeps memory
there on purpose; `make fuzz` watches the process's size instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "sanitize"
TESTS = ["test_codec.py", "test_codec_gs1.py", "test_codec_serials.py", "test_codec_schemes.py", "test_codec_rows.py"]
TESTS += ["test_codec_equal.py", "test_codec_bounds.py", "test_codec_contents.py"]


def build() -> None:
    """A copy of the package whose extension stops the process at the first fault."""
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(ROOT / "handle_codec", BUILD / "handle_codec", ignore=shutil.ignore_patterns("*.so", "*.c"))
    source = BUILD / "handle_codec" / "_speed.pyx"
    cythonize([Extension("handle_codec._speed", [str(source)])], quiet=True, language_level=3)
    command = ["gcc", "-shared", "-fPIC", "-g", "-O1", "-fno-omit-frame-pointer"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += ["-DPy_LIMITED_API=0x030B0000", "-DCYTHON_LIMITED_API=1", f"-I{sysconfig.get_path('include')}"]
    command += [str(source.with_suffix(".c")), "-o", str(BUILD / "handle_codec" / "_speed.abi3.so")]
    subprocess.run(command, check=True)


def main() -> int:
    build()
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = os.environ | {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(BUILD),
        "DEMAND_COMPILED": "1",
    }
    # `python -m pytest` would put the working directory, and with it the installed codec, in front.
    check = "import handle_codec, sys; print(handle_codec._speed.__file__); sys.exit(handle_codec.IMPLEMENTATION != 'compiled')"
    subprocess.run([sys.executable, "-P", "-c", check], env=environment, cwd=BUILD, check=True)
    # Reads far past an object of four bytes: a run that lets this pass would let anything pass.
    planted = "import ctypes; ctypes.string_at(ctypes.create_string_buffer(4), 4096)"
    caught = subprocess.run(
        [sys.executable, "-c", planted], env=environment, capture_output=True, text=True, check=False
    )
    if "buffer-overflow" not in caught.stderr:
        print("the sanitizer did not catch a planted fault:", caught.returncode, caught.stderr[-500:])
        return 1
    print("a planted overflow was caught; now the codec's tests", flush=True)
    tests = [str(ROOT / "tests" / name) for name in TESTS]
    command = [str(Path(sys.executable).with_name("pytest")), "-q", "-p", "no:cacheprovider", *tests, *sys.argv[1:]]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
