"""Damaged files by the thousand: see scripts/fuzz.py, which runs 100,000 of each format on demand.

As many cases as CI can afford, less than a minute of one core for all formats. Fewer where a case
costs more: pickles and MessagePack are read value by value (0.6 to 0.9 ms a case, the others 0.2
to 0.4), and HDF5, alone or in .keras files, in a worker process (4 ms), where a single damaged
file may take all the seconds that it is given.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from git_nn.formats import table
from scripts import fuzz

SEED = 20261121
CASES = {
    "npy": 20_000, "coreml": 10_000, "tflite": 10_000, "npz": 10_000,
    "gguf": 10_000, "onnx": 10_000, "safetensors": 10_000, "torch": 10_000,
    "torch-legacy": 3000, "pickle": 3000, "flax": 3000, "hdf5": 400, "keras": 400,
}  # fmt: skip
FEW = 1000  # for a format that nobody has put into the table above


@pytest.mark.parametrize("name", table.FORMATS)
def test_a_damaged_file_has_a_checked_layout_and_comes_back(name: str) -> None:
    cases = CASES.get(name, FEW)
    report = fuzz.fuzz(name, cases, SEED)
    print(fuzz.line(report))
    assert not [(number, message) for number, message, _ in report.failures]
    assert report.cases == cases, "there is no sample of this format"
    assert report.opaque < 0.98 * cases, "the damage is so great that the parser sees none of it"
    assert report.memory < 512


def test_a_case_is_a_function_of_seed_format_and_number() -> None:
    good = fuzz.samples("gguf")
    first = [fuzz.case(1, "gguf", number, good) for number in range(200)]
    assert first == [fuzz.case(1, "gguf", number, good) for number in range(200)]
    assert first != [fuzz.case(2, "gguf", number, good) for number in range(200)]
    assert len(set(first)) > 190


def test_a_failure_is_reported_and_its_input_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a parser that says the file is longer than it is."""
    from git_nn.formats import gguf

    monkeypatch.setattr(table, "_checked", lambda module, layout, source: None)
    monkeypatch.setattr(gguf, "layout", lambda source: None)
    monkeypatch.setattr(fuzz, "samples", lambda name: [b"GGUF" + bytes(100)])
    out = tmp_path / "failures"
    arguments = ["fuzz.py", "--formats", "gguf", "--cases", "5", "--seed", "3", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert fuzz.main() == 1
    written = {path.read_bytes() for path in out.iterdir()}
    assert written <= {fuzz.case(3, "gguf", i, [b"GGUF" + bytes(100)]) for i in range(5)}
    assert written
    assert "failures" in capsys.readouterr().out


def test_the_script_runs_by_itself(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts/fuzz.py"
    done = subprocess.run(
        [sys.executable, str(script), "--formats", "npy", "--cases", "50", "--out", str(tmp_path)],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "50 cases" in done.stdout
