"""Fuzz the YAML reader, spec validation and artifact loading with atheris: ``make fuzz``.

    python tests/fuzz/fuzz.py --seconds 600 yaml spec artifact

Needs the extra ``fuzz``. Inputs that reach new code are kept in CORPUS, those that crash it in CORPUS/TARGET-crash*.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

NAMES = ("yaml", "spec", "artifact")
INSTRUMENTED = ["lossforge.spec", "lossforge.artifact", "ruamel.yaml"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=[*NAMES], help=f"of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--seconds", type=int, default=900, help="of each target")
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"))
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.targets) - set(NAMES):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if options.alone:
        _fuzz(options.targets[0], options.corpus, options.seconds)
    return max(_in_a_process(name, options.corpus, options.seconds) for name in options.targets)


def _in_a_process(name: str, corpus: Path, seconds: int) -> int:
    """Fuzz one target, and print what came of it; 1 where something was found."""
    command = [sys.executable, __file__, "--alone", "--seconds", str(seconds), "--corpus", str(corpus), name]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    runs = re.search(r"Done (\d+) runs", done.stderr) or [*re.finditer(r"^#(\d+)\t", done.stderr, re.MULTILINE)][-1:]
    count = runs if isinstance(runs, re.Match) else (runs[0] if runs else None)
    print(f"{name}: {'nothing' if done.returncode == 0 else 'something'} found in", end=" ")
    print(f"{count[1] if count else '?'} inputs", flush=True)
    if done.returncode:
        print(done.stderr[-6000:])
    return int(done.returncode != 0)


def _fuzz(name: str, corpus: Path, seconds: int) -> None:
    """Give this process to libFuzzer, which ends it."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        import targets

    inputs = corpus / name
    inputs.mkdir(parents=True, exist_ok=True)
    for seed in targets.seeds(name):
        (inputs / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = corpus / f"{name}.dict"
    words.write_text("".join(f"{_word(token)}\n" for token in targets.TOKENS))
    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=8192"]
    places = [f"-dict={words}", f"-artifact_prefix={corpus}/{name}-", str(inputs)]
    atheris.Setup([sys.argv[0], *limits, *places], targets.TARGETS[name])
    atheris.Fuzz()


def _word(token: str) -> str:
    """Return a token as libFuzzer's dictionaries spell it."""
    plain = "".join(f"\\x{byte:02x}" if not 32 <= byte < 127 else chr(byte) for byte in token.encode())
    return json.dumps(plain).replace("\\\\x", "\\x")


if __name__ == "__main__":
    sys.exit(main())
