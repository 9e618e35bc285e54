"""Plugins in JavaScript, Python and C: each template is made by the program, built from sources, and run in the real host.
What a world's templates do is the same in every language, so one set of cases holds for all."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib

import pytest

from hub import binary

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "sdk/templates"
WORLDS = ("rotation-schedule", "kdf-profile", "audit-sink")
LANGUAGES = ("javascript", "python", "c")
EVERY = [(language, world) for language in LANGUAGES for world in WORLDS]

# Where `tests/run` puts them: node_modules beside this folder, scripts of this Python's environment.
TOOLS = [ROOT / "tests/node_modules/.bin", pathlib.Path(sysconfig.get_path("scripts"))]
PATH = os.pathsep.join([*map(str, TOOLS), os.environ["PATH"]])
NEEDS = {"javascript": ["node", "componentize-qjs"], "python": ["componentize-py"], "c": ["python-zig", "rustc"]}

MIB = 1 << 20
# What a component of each language may take: a new version of a tool that takes much more is to be seen.
SIZE = {"javascript": 3 * MIB, "python": 32 * MIB, "c": 64 * 1024}
MEMORY = {"javascript": 8 * MIB, "python": 32 * MIB, "c": MIB}
FUEL = {"javascript": 60_000_000, "python": 40_000_000, "c": 1_000_000}

# The deadline of a call is the machine's clock: here it is a busy one. What a call costs is seen by its fuel.
PATIENT = ["--time", "20s"]


def tools_of(language):
    missing = [tool for tool in NEEDS[language] if shutil.which(tool, path=PATH) is None]
    if missing:
        pytest.skip(f"not here: {', '.join(missing)} (tests/run installs them)")


def run(*arguments, folder, code=0, path=PATH):
    env = {"PATH": path, "HOME": os.environ.get("HOME", str(folder)), "NO_COLOR": "1"}
    env.update({name: value for name, value in os.environ.items() if name.startswith(("RUSTUP_", "CARGO_HOME"))})
    done = subprocess.run(
        list(map(str, arguments)), cwd=folder, env=env, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Projects by language and world, made and built once."""
    projects = {}

    def project(language, world):
        tools_of(language)
        if (language, world) not in projects:
            folder = tmp_path_factory.mktemp("plugins") / "payday"
            run(binary(), "plugin", "new", "payday", "--world", world, "--language", language, folder, folder="/")
            run(binary(), "plugin", "build", folder=folder)
            projects[language, world] = folder
        return projects[language, world]

    return project


@pytest.fixture(scope="module")
def reports(built):
    """What every case was answered, by language and world. One run each: a host compiles CPython for long."""
    known = {}

    def report(language, world):
        if (language, world) not in known:
            folder = built(language, world)
            if world == "rotation-schedule":
                write_year(folder / "cases/year")
            # The cases of the year expect nothing yet, and fail.
            code = 1 if world == "rotation-schedule" else 0
            done = run(binary(), "plugin", "test", folder / "payday.wasm", *PATIENT, "--output", "json", folder=folder,
                       code=code)
            known[language, world] = json.loads(done.stdout)["cases"]
        return known[language, world]

    return report


def of_the_year(report):
    return report["description"].startswith("day ")


@pytest.mark.parametrize(("language", "world"), EVERY)
def test_a_template_builds_and_passes_its_cases_in_the_host(built, reports, language, world):
    assert (built(language, world) / "payday.wasm").stat().st_size < SIZE[language]
    asked = reports(language, world)
    own = [report for report in asked if not of_the_year(report)]
    assert len(own) == len(list((TEMPLATES / language / world / "cases").glob("*.json"))) > 1
    assert [report for report in own if not report["passed"]] == []
    assert 0 < max(report["memoryBytes"] for report in asked) < MEMORY[language]
    assert 0 < max(report["fuel"] for report in asked) < FUEL[language]


@pytest.mark.parametrize(("language", "world"), EVERY)
def test_a_component_imports_nothing_but_what_its_manifest_asks_for(built, language, world):
    folder = built(language, world)
    imports = imported_names((folder / "payday.wasm").read_bytes())
    text = (folder / "plugin.toml").read_text()
    capabilities = set(tomllib.loads(text)["capabilities"])
    assert capabilities == ({"log", "config", "outbound"} if world == "audit-sink" else {"log", "config"})
    # `types` has no functions: there is nothing to grant.
    assert set(imports) <= {f"cipher-hub:plugin/{name}@0.1.0" for name in capabilities | {"types"}}
    assert "cipher-hub:plugin/config@0.1.0" in imports


def leb(data, at):
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def imported_names(component):
    """The names a component imports: sections of kind 10 of the component model's binary format."""
    assert component[:8] == b"\0asm\x0d\0\x01\0"
    at, names = 8, []
    while at < len(component):
        kind = component[at]
        size, at = leb(component, at + 1)
        if kind == 10:
            count, place = leb(component, at)
            for _ in range(count):
                length, place = leb(component, place + 1)
                names.append(component[place : place + length].decode())
                place += length
                # The type: all of ours are instances, 5 and an index.
                assert component[place] == 5
                _, place = leb(component, place + 1)
            assert place == at + size
        at += size
    return names


@pytest.mark.parametrize(("language", "break_it", "message"), [
    ("javascript", ("plugin.js", "export const rotation", "export const rotten"), "rotation"),
    ("python", ("plugin.py", "class Rotation(exports.Rotation)", "class Rotation(exports.Rotten)"), "Rotten"),
    ("c", ("plugin.c", "#define MAX_RANGES 512", "#error no ranges"), "no ranges"),
])
def test_a_build_that_fails_says_why_and_leaves_nothing(built, tmp_path, language, break_it, message):
    folder = tmp_path / "payday"
    shutil.copytree(built(language, "rotation-schedule"), folder, ignore=shutil.ignore_patterns("*.wasm", "year"))
    name, old, new = break_it
    source = folder / name
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))
    done = subprocess.run(
        ["sh", "build", tmp_path / "component.wasm"], cwd=folder, env={**os.environ, "PATH": PATH},
        capture_output=True, text=True, timeout=600,
    )
    if language == "javascript" and done.returncode == 0:
        # The engine finds out when it is asked: the host refuses the answer.
        file = folder / "payday.wasm"
        run(binary(), "plugin", "build", folder=folder)
        failed = run(binary(), "plugin", "test", file, *PATIENT, "--filter", "example", folder=folder, code=1)
        assert "example" in failed.stdout
        return
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert not (tmp_path / "component.wasm").exists()


@pytest.mark.parametrize(("language", "tool"), [
    ("javascript", "componentize-qjs"), ("python", "componentize-py"), ("c", "a C compiler for WebAssembly"),
])
def test_a_missing_tool_is_named_with_the_way_to_install_it(tmp_path, language, tool):
    folder = tmp_path / "payday"
    shutil.copytree(TEMPLATES / language / "rotation-schedule", folder)
    # A PATH with what every system has, and Node.js.
    few = tmp_path / "bin"
    few.mkdir()
    for name in ("sh", "dirname", "mktemp", "rm", "cat", "sed", "node"):
        if found := shutil.which(name):
            (few / name).symlink_to(found)
    if language == "javascript" and not (few / "node").exists():
        tool = "Node.js"
    done = run(few / "sh", "build", folder=folder, code=3, path=str(few))
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"missing: {tool}")
    assert lines[1].startswith("install: ")
    assert not list(folder.glob("*.wasm"))


@pytest.mark.parametrize("world", WORLDS)
def test_one_set_of_cases_holds_for_all_languages(world):
    def cases(language):
        return {file.name: file.read_text() for file in (TEMPLATES / language / world / "cases").glob("*.json")}

    def contract(language):
        text = (TEMPLATES / language / world / "plugin.toml").read_text()
        return re.sub(r"(?m)^(memory|time) = .*$", "", text)

    for language in LANGUAGES[1:]:
        assert cases(language) == cases(LANGUAGES[0])
        assert contract(language) == contract(LANGUAGES[0])


def test_the_bindings_for_c_are_those_of_the_contract():
    digest = hashlib.sha256()
    for file in sorted((ROOT / "wit").glob("*.wit")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    for world in WORLDS:
        text = (TEMPLATES / "c" / world / "bindings/component_type.c").read_text()
        assert digest.hexdigest() in text, "wit/ has changed: run sdk/generate-c-bindings"
        for name in ("libc.c", "stdlib.h", "string.h", "text.h"):
            first = TEMPLATES / "c" / WORLDS[0] / "support" / name
            assert (TEMPLATES / "c" / world / "support" / name).read_text() == first.read_text()
    if shutil.which("wit-bindgen"):
        done = subprocess.run([sys.executable, ROOT / "sdk/generate-c-bindings", "--check"], timeout=60)
        assert done.returncode in (0, 2), "sdk/generate-c-bindings --check"


def write_year(folder):
    """Questions over a year of days, in zones that change their clocks at different times."""
    folder.mkdir()
    zones = ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "UTC"]
    for day in range(0, 366, 5):
        case = {
            "description": f"day {day}",
            "world": "rotation-schedule",
            "config": {"freeze": "2026-12-20..2027-01-06, 2027-03-28, 2027-10-31"},
            "request": {
                "policy": {
                    "minInterval": f"P{1 + day % 9}D",
                    "maxInterval": f"P{20 + day % 50}D",
                    "parameters": {
                        "zone": zones[day % 4], "weekday": ["sunday", "monday", "saturday"][day % 3], "hour": day % 24,
                    },
                },
                "lastRotation": 1_790_000_000_000 + day * 86_400_000 + day * 977_000,
            },
            "expect": {"askAgain": "1970-01-01T00:00:00Z"},
        }
        (folder / f"{day:03}.json").write_text(json.dumps(case))


def test_plugins_of_all_languages_say_the_same_of_a_key(reports):
    """Not by cases that were written beside the code."""
    answers = {}
    for language in LANGUAGES:
        of = [report for report in reports(language, "rotation-schedule") if of_the_year(report)]
        answers[language] = {report["description"]: report["answer"] for report in of}
        assert len(answers[language]) == 74
        assert all("rotateAt" in answer for answer in answers[language].values())
    assert answers["javascript"] == answers["python"] == answers["c"]
    assert len({answer["rotateAt"] for answer in answers["c"].values()}) > 40
