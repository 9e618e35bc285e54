"""Plugins in Rust: those of `plugins/`, built from source, pass their cases in the real host; a project that
`cipher-hub plugin new` makes builds with nothing of this repository, and passes its own."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from hub import binary

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
OUT = PLUGINS / "out"
NAMES = sorted(path.parent.name for path in PLUGINS.glob("*/plugin.toml"))
WORLDS = ("rotation-schedule", "kdf-profile", "audit-sink")

# The deadline of a call is the machine's clock: here it is a busy one.
PATIENT = ["--time", "20s"]


def run(*arguments, folder, code=0, **more):
    env = {**os.environ, "NO_COLOR": "1", **more}
    done = subprocess.run(
        list(map(str, arguments)), cwd=folder, env=env, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def built(name):
    file = OUT / f"{name}.wasm"
    if not file.exists():
        assert "CI" not in os.environ, "plugins/build has not been run"
        pytest.skip("plugins/build makes what is tested here")
    return file


def reports(file, cases, folder):
    done = run(binary(), "plugin", "test", file, "--cases", cases, *PATIENT, "--output", "json", folder=folder)
    asked = json.loads(done.stdout)["cases"]
    assert len(asked) == len(list(cases.glob("*.json"))) > 1
    assert [report for report in asked if not report["passed"]] == []
    return asked


def test_there_are_all_of_them():
    assert len(NAMES) == 8
    if OUT.exists():
        lines = dict(reversed(line.split()) for line in (OUT / "SHA256SUMS").read_text().splitlines())
        for name in NAMES:
            assert lines[f"{name}.wasm"] == hashlib.sha256(built(name).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_passes_its_cases_in_the_host(name, tmp_path):
    asked = reports(built(name), PLUGINS / name / "cases", tmp_path)
    # A hundred entries take memory; a decision or a plan takes next to none.
    assert max(report["memoryBytes"] for report in asked) <= 4 << 20
    assert max(report["fuel"] for report in asked) < 20_000_000


@pytest.mark.parametrize("name", NAMES)
def test_sealing_without_the_program_makes_the_same_file(name, tmp_path):
    sealed = built(name)
    manifest = (PLUGINS / name / "plugin.toml").read_bytes()
    whole = sealed.read_bytes()
    assert whole.endswith(b"cipher-hub:manifest" + manifest)
    # The section before it: kind, length, length of the name.
    end = whole.rindex(b"cipher-hub:manifest") - 1
    content = 1 + len("cipher-hub:manifest") + len(manifest)
    bare = whole[: end - 1 - (content.bit_length() + 6) // 7]
    (tmp_path / "bare").write_bytes(bare)
    run("python3", PLUGINS / "seal.py", "bare", PLUGINS / name / "plugin.toml", "by-script", folder=tmp_path)
    run(binary(), "plugin", "seal", "bare", "--manifest", PLUGINS / name / "plugin.toml", "-o", "by-program", folder=tmp_path)
    assert (tmp_path / "by-script").read_bytes() == (tmp_path / "by-program").read_bytes() == whole


@pytest.mark.parametrize("world", WORLDS)
def test_a_new_project_builds_and_passes_its_cases(world, tmp_path):
    if not OUT.exists() and "CI" not in os.environ:
        pytest.skip("plugins/build installs what this needs")
    folder = tmp_path / "payday"
    run(binary(), "plugin", "new", "payday", "--world", world, "--language", "rust", folder, folder="/")
    assert "{{" not in "".join(path.read_text() for path in folder.rglob("*") if path.is_file() and "sdk" not in path.parts)
    # The standard library that `plugins/build` has built serves here too.
    target = os.environ.get("CARGO_TARGET_DIR", str(PLUGINS / "target"))
    run(binary(), "plugin", "build", folder=folder, CARGO_TARGET_DIR=os.path.abspath(target))
    reports(folder / "payday.wasm", folder / "cases", folder)


def test_a_build_without_a_toolchain_says_what_to_install(tmp_path):
    folder = tmp_path / "payday"
    run(binary(), "plugin", "new", "payday", "--world", "kdf-profile", "--language", "rust", folder, folder="/")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "dirname", "sed", "which"):
        (tools / tool).symlink_to(shutil.which(tool))
    done = run(binary(), "plugin", "build", folder=folder, code=1, PATH=str(tools), RUSTC="")
    assert "rustup target add wasm32-unknown-unknown" in done.stderr
    assert "rustc-web" in done.stderr
    assert not (folder / "payday.wasm").exists()
