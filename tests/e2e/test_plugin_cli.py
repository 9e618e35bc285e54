"""The plugin author's loop without a hub: new, build, seal, test, check, bench, sign, verify, inspect. The component is
`payday.wat`, so that no compiler is needed (`payday.wasm.b64` is its binary form); `test_plugin_languages.py` and
`test_plugin_rust.py` compile the templates."""

import base64
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from hub import binary

HERE = pathlib.Path(__file__).parent
WORLDS = ["rotation-schedule", "kdf-profile", "audit-sink"]
LANGUAGES = ["rust", "javascript", "python", "c"]
MANIFEST = """\
name = "payday"
version = "1.2.0"
world = "rotation-schedule"
contract = "0.1"
description = "Rotates at one time."
capabilities = ["log"]
[limits]
memory = "1MiB"
[config.region]
type = "choice"
choices = ["de", "fr"]
default = "de"
[parameters.zone]
type = "string"
default = "UTC"
"""
DECIDES = {"world": "rotation-schedule", "expect": {"rotateAt": "2026-12-01T02:00:00Z"}}
TRAPS = {"world": "rotation-schedule", "call": "checkPolicy", "expectError": "trap"}


class Author:
    """A person with the program, in an empty folder and without settings."""

    def __init__(self, folder):
        self.folder = folder
        self.path = os.environ["PATH"]

    def run(self, *arguments, code=0):
        done = subprocess.run(
            [binary(), "plugin", *map(str, arguments)],
            cwd=self.folder, capture_output=True, text=True, timeout=300,
            env={"PATH": self.path, "HOME": str(self.folder / "home"), "NO_COLOR": "1"},
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments, code=0):
        return json.loads(self.run(*arguments, "--output", "json", code=code).stdout)

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def seal(self, manifest=MANIFEST, out="payday.wasm", code=0):
        self.write("plugin.toml", manifest)
        bare = self.folder / "component.wasm"
        bare.write_bytes(base64.b64decode((HERE / "payday.wasm.b64").read_text()))
        return self.run("seal", bare, "--manifest", "plugin.toml", "-o", out, code=code)


@pytest.fixture
def author(tmp_path):
    return Author(tmp_path)


@pytest.fixture
def sealed(author):
    author.seal()
    author.write("cases/decides.json", DECIDES)
    author.write("cases/traps.json", TRAPS)
    return author


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_project_is_whole_and_nothing_is_overwritten(author, language, world):
    done = author.run("new", "my-first", "--world", world, "--language", language)
    told = [line.strip() for line in done.stderr.splitlines()[1:]]
    project = author.folder / "my-first"
    tools = told[1:-2]
    assert told == ["cd my-first", *tools, "cipher-hub plugin build", "cipher-hub plugin test my-first.wasm"]
    assert len(tools) == (language in ("javascript", "python"))
    assert all(tool in (project / "README.md").read_text() for tool in tools), "as its README says"
    ignored = (project / ".gitignore").read_text().split()
    assert {"*.wasm", "*.pem", "cipher-hub-data/"} <= set(ignored), "keys stay out of version control"
    files = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert {"plugin.toml", "build", "README.md", ".gitignore", "wit/types.wit", f"wit/{world}.wit"} <= files
    assert sum(name.startswith("cases/") for name in files) >= 2
    assert 'name = "my-first"' in (project / "plugin.toml").read_text()
    assert not any("{{" in (project / name).read_text() for name in ("plugin.toml", "build", "README.md"))
    assert ("sdk/Cargo.toml" in files) == (language == "rust")
    before = {name: (project / name).read_bytes() for name in files}
    refused = author.run("new", "my-first", "--world", world, "--language", language, code=7)
    assert "would be overwritten" in refused.stderr
    assert {name: (project / name).read_bytes() for name in files} == before
    author.run("new", "other", "--world", world, "--language", language, "--dry-run")
    assert not (author.folder / "other").exists()


def test_names_and_worlds_are_checked(author):
    assert "not a valid name" in author.run("new", "My_Plugin", "--world", "kdf-profile", "--language", "c", code=2).stderr
    author.run("new", "mine", "--world", "toaster", "--language", "c", code=2)
    assert not list(author.folder.iterdir())


def tools(author, script):
    """A PATH with little in it, and a compiler that is a script."""
    folder = author.folder / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "mktemp", "rm", "mv", "cp", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    if script is not None:
        for name, text in (("node", "#!/bin/sh\n"), ("componentize-qjs", script)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
    author.path = str(folder)


def test_a_build_says_what_is_missing(author):
    author.run("new", "payday", "--world", "rotation-schedule", "--language", "javascript")
    tools(author, None)
    done = author.run("build", "payday", code=1)
    assert "missing: Node.js" in done.stderr and "install: " in done.stderr
    assert "error: a tool that the build needs is missing" in done.stderr
    assert done.stdout == "" and not (author.folder / "payday/payday.wasm").exists()
    # Quiet: the same, in the details of the error.
    assert "missing: Node.js" in author.run("build", "payday", "--quiet", code=1).stderr
    assert not [path for path in (author.folder / "payday").iterdir() if path.name.startswith(".build")]


def test_the_whole_loop(author):
    author.seal(out="compiled.wasm")
    author.run("new", "payday", "--world", "rotation-schedule", "--language", "javascript")
    project = author.folder / "payday"
    compiler = f"""#!/bin/sh
echo compiling
while [ "$1" != --output ]; do shift; done
cp {author.folder}/compiled.wasm "$2"
"""
    tools(author, compiler)
    made = author.json("build", "payday")
    assert made["name"] == "payday" and made["file"] == "payday/payday.wasm"
    assert len(made["digest"]) == 64 and made["size"] == (project / "payday.wasm").stat().st_size
    # What the component does is not what the template's cases say.
    shutil.rmtree(project / "cases")
    author.write("payday/cases/decides.json", {"world": "rotation-schedule"})
    failed = author.run("test", "payday/payday.wasm", code=1)
    assert "expects nothing (--record writes it)" in failed.stdout and "0 passed, 1 failed" in failed.stdout
    recorded = author.run("test", "payday/payday.wasm", "--record")
    assert "0 passed, 0 failed, 1 recorded" in recorded.stdout
    case = json.loads((project / "cases/decides.json").read_text())
    assert case == DECIDES
    assert "1 passed, 0 failed" in author.run("test", "payday/payday.wasm").stdout
    assert author.json("check", "payday/payday.wasm")["fit"]
    author.run("keygen", "-o", "key.pem")
    author.run("sign", "payday/payday.wasm", "--key", "key.pem")
    public = author.run("keygen", "--public-of", "key.pem").stdout.strip()
    verified = author.json("verify", "payday/payday.wasm", "--signer", public)
    assert verified["digest"] == made["digest"] and verified["verified"]


def test_cases_run_in_the_real_host(sealed):
    report = sealed.json("test", "payday.wasm")
    assert (report["passed"], report["failed"]) == (2, 0)
    decides, traps = report["cases"]
    assert decides["answer"] == {"rotateAt": "2026-12-01T02:00:00Z"}
    assert decides["log"] == [{"level": "info", "text": "deciding"}]
    assert decides["fuel"] > 0 and decides["memoryBytes"] == 65536
    assert traps["failure"]["kind"] == "trap" and "unreachable" in traps["failure"]["text"]
    assert sealed.json("test", "payday.wasm", "--filter", "traps")["passed"] == 1
    sealed.run("test", "payday.wasm", "--filter", "nothing", code=1)
    sealed.run("test", "payday.wasm", "--cases", "elsewhere", code=6)


@pytest.mark.parametrize("change, said", [
    ({"expect": {"rotateAt": "2027-01-01T00:00:00Z"}},
     '/rotateAt: expected "2027-01-01T00:00:00Z", got "2026-12-01T02:00:00Z"'),
    ({"expect": {"rotateNow": "used up"}}, "/rotateNow: expected"),
    ({"expect": None, "expectError": "trap"}, "expected the error trap, got"),
    ({"limits": {"fuel": 3}}, "got fuel:"),
    ({"call": "checkPolicy", "expect": {"ok": True}}, "got trap:"),
    ({"config": {"region": "it"}}, "`config`: `region` is not one of"),
    ({"request": {"policy": {"parameters": {"colour": "red"}}}}, "`colour` is not known"),
    ({"request": {"policy": {"parameters": {"zone": "Mars/Olympus"}}}}, "got refused:"),
    ({"world": "kdf-profile"}, "its world is `kdf-profile`"),
    ({"reqest": {}}, "unknown field `reqest`"),
    ({"request": {"now": "noon"}}, "no time such as"),
])
def test_what_is_not_as_expected_is_shown(sealed, change, said):
    case = {name: value for name, value in {**DECIDES, **change}.items() if value is not None}
    sealed.write("cases/decides.json", case)
    done = sealed.run("test", "payday.wasm", code=1)
    assert said in done.stdout, done.stdout
    assert "1 passed, 1 failed" in done.stdout


def test_limits_of_a_case_have_names(sealed):
    sealed.write("cases/decides.json", {"world": "rotation-schedule", "limits": {"fuel": 3}, "expectError": "fuel"})
    assert "2 passed" in sealed.run("test", "payday.wasm").stdout


def test_what_is_fit_is_said(sealed):
    report = sealed.json("check", "payday.wasm")
    assert report["fit"] and [finding["code"] for finding in report["findings"]] == ["unsigned"]
    sealed.seal(MANIFEST.replace('"1MiB"', '"1GiB"').replace('["log"]', '["log", "config"]'))
    findings = {finding["code"]: finding for finding in sealed.json("check", "payday.wasm")["findings"]}
    assert findings["limits"]["line"] == 8 and "64MiB" in findings["limits"]["fix"]
    assert findings["capability"]["line"] == 6 and findings["capability"]["fix"] == 'capabilities = ["log"]'


def test_recording_replaces_no_expectation_unless_told(sealed):
    wrong = {**DECIDES, "expect": {"rotateNow": "because"}}
    sealed.write("cases/decides.json", wrong)
    done = sealed.run("test", "payday.wasm", "--record", code=1)
    assert "1 passed, 1 failed" in done.stdout
    assert json.loads((sealed.folder / "cases/decides.json").read_text()) == wrong
    assert "1 passed, 0 failed, 1 recorded" in sealed.run("test", "payday.wasm", "--record=all").stdout
    assert json.loads((sealed.folder / "cases/decides.json").read_text()) != wrong
    assert "2 passed, 0 failed" in sealed.run("test", "payday.wasm").stdout


def test_what_breaks_in_its_cases_is_not_fit(sealed):
    breaks = {"world": "rotation-schedule", "limits": {"fuel": 3}}
    sealed.write("cases/decides.json", breaks)
    errors = [f for f in sealed.json("check", "payday.wasm", code=3)["findings"] if f["severity"] == "error"]
    assert [error["code"] for error in errors] == ["behaviour"] and "decides.json" in errors[0]["message"]
    sealed.write("cases/decides.json", {**breaks, "expectError": "fuel"})
    assert sealed.json("check", "payday.wasm")["fit"]
    sealed.write("cases/decides.json", {**DECIDES, "expect": {"rotateNow": "because"}})
    report = sealed.json("check", "payday.wasm")
    assert report["fit"] and "cases" in [finding["code"] for finding in report["findings"]]


@pytest.mark.parametrize("old, new, code, line, fix", [
    ('["log"]', "[]", "import", 6, 'capabilities = ["log"]'),
    ('"rotation-schedule"', '"kdf-profile"', "world", 3, 'world = "rotation-schedule"'),
])
def test_what_is_not_fit_names_the_line_that_would_mend_it(sealed, old, new, code, line, fix):
    sealed.seal(MANIFEST.replace(old, new))
    report = sealed.json("check", "payday.wasm", code=3)
    errors = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert [(error["code"], error["line"], error["fix"]) for error in errors] == [(code, line, fix)]
    assert f"plugin.toml:{line}: error: " in sealed.run("check", "payday.wasm", code=3).stdout
    assert "plugin check" in sealed.run("test", "payday.wasm", code=3).stderr


def test_files_that_are_no_plugins_are_told(sealed):
    refused = sealed.seal(MANIFEST.replace("version", "verison"), out="x.wasm", code=3)
    assert "unknown field `verison`" in refused.stderr and "line 2" in refused.stderr
    sealed.write("text.wasm", "hello")
    whole = (sealed.folder / "payday.wasm").read_bytes()
    (sealed.folder / "cut.wasm").write_bytes(whole[:-10])
    (sealed.folder / "module.wasm").write_bytes(b"\0asm\1\0\0\0")
    for name, said in [("text", "not a WebAssembly component"), ("cut", "damaged"), ("module", "core module")]:
        assert said in sealed.run("inspect", f"{name}.wasm", code=3).stderr
        assert sealed.json("check", f"{name}.wasm", code=3)["findings"][0]["code"] == "file"
    assert "none.wasm" in sealed.run("inspect", "none.wasm", code=1).stderr


def test_inspection_shows_what_is_in_it(sealed):
    shown = sealed.json("inspect", "payday.wasm")
    assert shown["name"] == "payday" and shown["world"] == "rotation-schedule" and shown["signatures"] == []
    assert shown["imports"] == ["cipher-hub:plugin/log@0.1.0"]
    assert set(shown["exports"]) == {"cipher-hub:plugin/lifecycle@0.1.0", "cipher-hub:plugin/rotation@0.1.0"}
    assert shown["config"]["region"]["default"] == "de" and shown["limits"]["memory"] == 1 << 20
    text = sealed.run("inspect", "payday.wasm").stdout
    assert f"sha256:{shown['digest']}" in text and "config.region" in text
    # Signatures are not part of what is hashed.
    sealed.run("keygen", "-o", "key.pem")
    sealed.run("sign", "payday.wasm", "--key", "key.pem")
    again = sealed.json("inspect", "payday.wasm")
    assert again["digest"] == shown["digest"] and len(again["signatures"]) == 1


def test_text_cannot_steer_the_terminal(sealed):
    sealed.seal(MANIFEST.replace("Rotates at one time.", "Rotates \\u202Eyadyap"))
    shown = sealed.run("inspect", "payday.wasm").stdout
    assert "\u202e" not in shown and "\\u{202e}yadyap" in shown
    shown = sealed.run("inspect", "payday.wasm", "--output", "json").stdout
    assert "\u202e" not in shown and json.loads(shown)["description"] == "Rotates \u202eyadyap"


def test_keys_are_those_of_openssl(sealed):
    public = sealed.run("keygen", "-o", "key.pem").stdout.strip()
    assert (sealed.folder / "key.pem").stat().st_mode & 0o777 == 0o600
    der = subprocess.run(
        ["openssl", "pkey", "-in", sealed.folder / "key.pem", "-pubout", "-outform", "DER"],
        check=True, capture_output=True,
    ).stdout
    assert public == "ed25519:" + base64.b64encode(der[-32:]).decode()
    assert "is there already" in sealed.run("keygen", "-o", "key.pem", code=7).stderr
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", sealed.folder / "other.pem"], check=True)
    other = sealed.run("keygen", "--public-of", "other.pem").stdout.strip()
    sealed.run("sign", "payday.wasm", "--key", "other.pem", "-o", "signed.wasm")
    sealed.run("verify", "signed.wasm", "--signer", other)
    sealed.run("sign", "payday.wasm", "--key", "plugin.toml", code=2)
    # openssl agrees with the signature, over the label and the digest.
    tail = (sealed.folder / "signed.wasm").read_bytes().rsplit(b" ", 1)[1]
    digest = bytes.fromhex(sealed.json("inspect", "signed.wasm")["digest"])
    (sealed.folder / "message").write_bytes(b"cipher-hub/v1/plugin\0" + digest)
    (sealed.folder / "signature").write_bytes(base64.b64decode(tail))
    subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-rawin", "-inkey", "other.pem", "-in", "message", "-sigfile", "signature"],
        check=True, capture_output=True, cwd=sealed.folder,
    )


def test_only_what_was_signed_by_the_trusted_in_time_is_verified(sealed):
    keys = [sealed.run("keygen", "-o", f"{name}.pem").stdout.strip() for name in ("ours", "vendors", "strangers")]
    verify = lambda *more, code=0: sealed.run("verify", "payday.wasm", *more, code=code)
    assert "not signed" in verify("--signer", keys[0], code=10).stderr
    for name in ("ours", "vendors"):
        sealed.run("sign", "payday.wasm", "--key", f"{name}.pem")
    for key in keys[:2]:
        assert verify("--signer", key).stdout.startswith("ok  payday 1.2.0, signed by signer-1 (")
    assert "signed by vendor (" in verify("--signer", f"vendor={keys[1]}").stdout
    assert "none of its signatures" in verify("--signer", keys[2], code=10).stderr
    sealed.write("signers", f"# whom we trust\n{keys[2]}\nvendor={keys[1]}\n")
    assert "signed by vendor (" in verify("--signer", "signers").stdout
    period = ["--signer", keys[0], "--not-before", "2026-01-01", "--not-after", "2026-12-31T23:59:59Z"]
    verify(*period, "--at", "2026-06-01")
    for outside in ("2025-12-31", "2027-01-01"):
        assert "period" in verify(*period, "--at", outside, code=10).stderr
    verify("--signer", "ed25519:AAAA", code=2)
    verify("--signer", "nowhere.pub", code=1)
    # One bit of it anywhere.
    whole = (sealed.folder / "payday.wasm").read_bytes()
    for place in (8, 100, len(whole) // 2, len(whole) - 300):
        changed = bytearray(whole)
        changed[place] ^= 1
        (sealed.folder / "payday.wasm").write_bytes(changed)
        verify("--signer", keys[0], "--signer", keys[1], code=10)
    # One letter of the last signature, which stays base64: the other holds still.
    changed = bytearray(whole)
    changed[-5] = ord("B" if changed[-5] == ord("A") else "A")
    (sealed.folder / "payday.wasm").write_bytes(changed)
    verify("--signer", keys[1], code=10)
    verify("--signer", keys[0])
    (sealed.folder / "payday.wasm").write_bytes(whole + b"\0")
    verify("--signer", keys[0], code=10)


def test_calls_are_measured(sealed):
    report = sealed.json("bench", "payday.wasm", "--calls", "20")
    assert report["loadMillis"] > 0 and report["compileMillis"] > 0
    decides, traps = report["cases"]
    assert decides["calls"] == 20 and 0 < decides["p50Micros"] <= decides["p99Micros"] and decides["fuel"] > 0
    assert traps["failure"] == "trap"
    assert "P99" in sealed.run("bench", "payday.wasm", "--calls", "5").stdout
    sealed.run("plan", "payday.wasm", "--profile", "x", code=2)
