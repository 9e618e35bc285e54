"""The policy author's loop on a folder: init, check, fmt, test, explain, diff. No hub runs, but where the folder is one
that a hub is to load."""

import json
import os
import pathlib
import queue
import shutil
import subprocess
import threading

import pytest

from hub import binary


class Author:
    """A person with the program, in an empty folder and without settings."""

    def __init__(self, folder):
        self.folder = folder
        self.policies = folder / "policies"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "NO_COLOR": "1"}

    def run(self, *arguments, code=0):
        done = subprocess.run(
            [binary(), "policy", *map(str, arguments)],
            cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=300,
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments, code=0):
        return json.loads(self.run(*arguments, "--output", "json", code=code).stdout)

    def write(self, name, text):
        path = self.policies / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def cases(self, change):
        """Changes the cases that `init` made."""
        path = self.policies / "tests/tls.test.json"
        cases = json.loads(path.read_text())
        change(cases)
        path.write_text(json.dumps(cases, indent=2))


@pytest.fixture
def author(tmp_path):
    return Author(tmp_path)


@pytest.fixture
def started(author):
    author.run("init")
    return author


MISSPELT = """\
@id("team.misspelt")
@title("Spelt wrongly")
forbid (
  principal,
  action in CipherHub::Action::"UseKey",
  resource is CipherHub::Key
)
when { resource.algoritm == "RSA_OAEP_2048_SHA256" };
"""
CLUMSY = '@id("team.clumsy") forbid(principal, action==CipherHub::Action::"keys.export",resource) when{true};\n'


def test_what_init_makes_is_whole_and_stays(started):
    names = {str(path.relative_to(started.policies)) for path in started.policies.rglob("*") if path.is_file()}
    assert names == {
        "policy.toml", "README.md", "hub.cedarschema", "local/tls-for-production.cedar", "tests/tls.test.json",
        "tests/entities.json", ".vscode/settings.json", ".vscode/tasks.json",
    }
    for name in (".vscode/settings.json", ".vscode/tasks.json"):
        json.loads((started.policies / name).read_text())
    assert started.run("schema").stdout == (started.policies / "hub.cedarschema").read_text()
    assert started.run("check", "--deny-warnings").stdout.startswith("ok: 1 policy in 1 file, 0 warnings, revision ")
    started.run("fmt", "--check")
    assert started.run("test").stdout.splitlines()[-1] == "4 passed, 0 failed"

    before = {path: path.read_bytes() for path in started.policies.rglob("*") if path.is_file()}
    refused = started.run("init", code=7)
    assert "policies/policy.toml" in refused.stderr
    assert before == {path: path.read_bytes() for path in started.policies.rglob("*") if path.is_file()}
    # One file that is there is enough, and then nothing is written.
    (started.folder / "other").mkdir()
    (started.folder / "other/README.md").write_text("mine")
    started.run("init", "other", code=7)
    assert [path.name for path in (started.folder / "other").iterdir()] == ["README.md"]


def test_a_hub_takes_the_local_part_of_such_a_folder(started):
    config = started.folder / "hub.toml"
    config.write_text(f'[policies]\ndir = "{started.policies}"\n')

    def check(code):
        done = subprocess.run([binary(), "config", "check", "--config", str(config)], cwd=started.folder,
                              env=started.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        return done.stderr

    check(0)
    started.write("tests/scratch.cedar", "this is no policy")
    started.write("examples/old.cedar", "neither is this")
    check(0)
    started.write("local/team/misspelt.cedar", MISSPELT)
    assert "algoritm" in check(3)
    (started.policies / "local/team/misspelt.cedar").unlink()
    # Without its mark the folder counts whole.
    (started.policies / "policy.toml").unlink()
    assert "scratch.cedar" in check(3)


def test_check_says_where_and_what_to_do(started):
    started.write("local/misspelt.cedar", MISSPELT)
    said = started.run("check", code=3).stdout
    assert "policies/local/misspelt.cedar:8:" in said
    assert "did you mean `algorithm`?" in said
    assert said.splitlines()[-1].startswith("not ok: 1 error")
    # In the folder itself, no folder need be named.
    inside = subprocess.run([binary(), "policy", "check"], cwd=started.policies, env=started.env, capture_output=True,
                            text=True, timeout=120)
    assert inside.returncode == 3 and "\nlocal/misspelt.cedar:8:" in "\n" + inside.stdout

    found = started.json("check", code=3)
    assert found["valid"] is False and found["revision"] is None
    errors = [one for one in found["findings"] if one["level"] == "error"]
    assert [(one["rule"], one["file"], one["line"]) for one in errors] == [
        ("validation", "policies/local/misspelt.cedar", 8)]
    assert errors[0]["endColumn"] > errors[0]["column"]

    sarif = json.loads(started.run("check", "--output", "sarif", code=3).stdout)
    assert sarif["version"] == "2.1.0"
    run = sarif["runs"][0]
    results = [one for one in run["results"] if one["level"] == "error"]
    place = results[0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "policies/local/misspelt.cedar"
    assert place["region"]["startLine"] == 8
    assert {one["ruleId"] for one in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}

    lines = started.run("check", "--output", "github", code=3).stdout.splitlines()
    assert any(line.startswith("::error file=policies/local/misspelt.cedar,line=8,") for line in lines)
    assert all(line.startswith(("::error ", "::warning ")) for line in lines)


def test_check_tells_each_kind_of_trouble_and_warnings_can_be_denied(started):
    def rules(text, code):
        started.write("local/a.cedar", text)
        return {one["rule"] for one in started.json("check", code=code)["findings"]}

    assert "syntax" in rules("permit(", 3)
    assert "id" in rules("permit(principal, action, resource);", 3)
    assert "id" in rules('@id("guard.mine") permit(principal, action, resource);', 3)
    assert "lock-out" in rules('@id("a") forbid(principal, action, resource);', 3)
    assert "unreachable" in rules('@id("a") permit(principal == CipherHub::User::"bob", action, resource);', 0)
    twice = MISSPELT.replace("algoritm", "algorithm")
    assert "unused" in rules(twice + twice.replace("team.misspelt", "team.again"), 0)
    assert "format" in rules(CLUMSY, 0)
    started.run("check", "--deny-warnings", code=3)
    started.write("policy.toml", 'test = ["tests"]\n')
    assert "unknown field `test`" in started.run("check", code=3).stderr


def test_sarif_is_for_check_alone_and_strangers_to_a_folder_are_told(author):
    author.run("schema", "--output", "sarif", code=2)
    assert "policy init" in author.run("check", code=1).stderr
    author.run("check", "nowhere", code=1)


def test_watch_checks_again_when_a_file_changes(started):
    process = subprocess.Popen([binary(), "policy", "check", "--watch"], cwd=started.folder, env=started.env,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in process.stdout], daemon=True).start()

    def until(start):
        seen = []
        while not seen or not seen[-1].startswith(start):
            seen.append(lines.get(timeout=60))
        return seen

    try:
        assert until("ok: ")[0].startswith("checking policies")
        path = started.write("local/misspelt.cedar", MISSPELT)
        seen = until("not ok: ")
        assert seen[0].startswith("checking policies")
        # As the problem matcher of .vscode/tasks.json takes it.
        assert any(line.startswith("policies/local/misspelt.cedar:8:") and ": error: " in line for line in seen)
        path.unlink()
        until("ok: ")
        # As editors save: another file takes the name.
        beside = started.write("local/.misspelt.tmp", MISSPELT)
        beside.rename(path)
        until("not ok: ")
    finally:
        process.kill()
        process.wait(30)


def test_fmt_writes_what_cedar_would_and_check_only_names(started):
    path = started.write("local/clumsy.cedar", CLUMSY)
    named = started.run("fmt", "--check", code=1)
    assert named.stdout.strip() == "policies/local/clumsy.cedar:1"
    assert path.read_text() == CLUMSY
    path.chmod(0o640)
    assert started.run("fmt").stdout.strip() == "policies/local/clumsy.cedar"
    assert path.read_text() == (
        '@id("team.clumsy")\nforbid (\n  principal,\n  action == CipherHub::Action::"keys.export",\n  resource\n)\n'
        "when { true };\n"
    )
    assert path.stat().st_mode & 0o777 == 0o640
    started.run("fmt", "--check", path)
    broken = started.write("local/broken.cedar", "permit(")
    assert "broken.cedar" in started.run("fmt", broken, code=3).stderr
    assert broken.read_text() == "permit("


def test_a_failing_case_says_expected_and_actual(started):
    def wrong(cases):
        cases[0]["decision"] = "deny"
        cases[0]["reason"] = ["local.nobody"]

    started.cases(wrong)
    said = started.run("test", code=1).stdout
    assert "policies/tests/tls.test.json:2: FAILED checkout encrypts over TLS" in said
    assert "expected deny by local.nobody" in said and "actual   allow by role.app" in said
    assert said.splitlines()[-1] == "3 passed, 1 failed"
    started.run("test", "--filter", "Unix socket")
    started.run("test", "--filter", "no such case", code=1)

    report = started.json("test", code=1)
    assert (report["passed"], report["failed"]) == (3, 1)
    case = report["cases"][0]
    assert case["passed"] is False and case["actual"] == {"decision": "allow", "policies": ["role.app"], "errors": 0}
    assert all("cedarAlone" not in one for one in report["cases"])


def test_bad_test_files_are_told_with_their_place(started):
    path = started.policies / "tests/tls.test.json"
    text = path.read_text()
    path.write_text(text.replace('"decision": "allow"', '"decision": "maybe"', 1))
    line = path.read_text()[: path.read_text().index('"maybe"')].count("\n") + 1
    said = started.run("test", code=1).stdout
    assert f"policies/tests/tls.test.json:{line}:" in said
    assert "a decision is `allow` or `deny`" in said and said.splitlines()[-1] == "3 passed, 1 failed"
    path.write_text(text[:-10])
    assert started.json("test", code=1)["problems"][0]["line"] == text[:-10].count("\n") + 1
    path.write_text(text.replace("CipherHub::Service::", "CipherHub::Servant::"))
    assert "Servant" in started.run("test", code=1).stdout


def test_a_name_that_is_no_id_does_not_pass(started):
    """Cedar alone would pass it; a hub would never apply the policy."""
    started.write("local/named.cedar", '@id("team.named")\nforbid (\n  principal == CipherHub::Service::"checkout",\n'
                  '  action == CipherHub::Action::"keys.encrypt",\n  resource\n);\n')

    def named(cases):
        cases[0]["request"]["principal"] = 'CipherHub::Service::"checkout"'
        cases[0].update(decision="deny", reason=["team.named"])
        entities = json.loads((started.policies / "tests/entities.json").read_text())
        for entity in entities:
            if entity["uid"]["id"] == "ptc_01jd8r6x5w0m3v9k2c7b4n1hp2":
                entity["uid"]["id"] = "checkout"
        cases[0]["entities"] = entities
        del cases[1:]

    started.cases(named)
    assert "on a hub it is allow by role.app" in started.run("test", code=1).stdout


def test_coverage_names_what_no_case_determines(started):
    started.write("local/export.cedar", CLUMSY.replace("when{true}", "when{resource.exportable}"))
    coverage = started.json("test")["coverage"]
    assert coverage["policiesNever"] == ["team.clumsy"]
    assert "keys.export" in coverage["actionsNever"] and "keys.encrypt" not in coverage["actionsNever"]
    said = started.run("test", "--coverage").stdout
    assert "coverage: 1 of 2 policies here determine a case" in said and "  never: team.clumsy" in said


ASK = ("explain", "--principal", "checkout", "--action", "keys.encrypt", "--resource", "orders")


def test_explain_says_what_would_have_to_change(started):
    allowed = started.run(*ASK).stdout
    assert allowed.startswith("allow by role.app\n") and "baseline/20-roles.cedar:" in allowed
    denied = started.run(*ASK, "--context", "tls=false", "--context", "encryptionContext.order=1").stdout
    assert denied.startswith("deny by local.tls-for-production\n")
    assert "policies/local/tls-for-production.cedar:6" in denied
    assert "✓ not context.caller.tls  is false" in denied
    assert "what would have to change:" in denied and "or `context.caller.tls`" in denied
    assert started.run(*ASK, "--context", "channel=unix").stdout.startswith("allow")

    report = started.json("explain", "--principal", "olga", "--action", "keys.decrypt", "--resource", "archive")
    assert report["permitted"] is False and report["determining"] == []
    nearest = report["candidates"][0]
    assert nearest["id"] == "role.app" and nearest["applies"] is False
    clause = nearest["conditions"][0]
    assert (clause["value"], clause["wanted"]) == ("false", True)
    facts = dict(clause["facts"])
    assert facts["principal"] == 'CipherHub::User::"ptc_01jd8r6x5w0m3v9k2c7b4n1hp1"'
    # Entities of one's own, and uids written out.
    mine = started.folder / "mine.json"
    shutil.copy(started.policies / "tests/entities.json", mine)
    shutil.rmtree(started.policies / "tests")
    written = ("explain", "--principal", 'Service::"ptc_01jd8r6x5w0m3v9k2c7b4n1hp2"', "--action", "keys.encrypt",
               "--resource", 'CipherHub::Key::"key_01jd8r6x5w0m3v9k2c7b4n1hq0"')
    assert started.run(*written, "--entities", mine, "--dir", "policies").stdout.startswith("allow")
    assert "--entities" in started.run(*written, code=1).stderr


def test_explain_wants_a_request_that_is_one(started):
    assert "no User, Service, Device `nobody`" in started.run(
        "explain", "--principal", "nobody", "--action", "keys.encrypt", "--resource", "orders", code=2).stderr
    assert "keys.encrpt" in started.run(
        "explain", "--principal", "checkout", "--action", "keys.encrpt", "--resource", "orders", code=2).stderr
    assert "no policy can see that" in started.run(*ASK, "--context", "moon=full", code=2).stderr
    assert "`true` or `false`" in started.run(*ASK, "--context", "tls=perhaps", code=2).stderr
    started.run("explain", code=2)
    started.run("explain", "dec_01jd8r0000000000000000000a", *ASK[1:], code=2)
    started.run("explain", "--principal", "checkout", code=2)


def rows(comparison, relation):
    return {(row["principal"], row["action"]) for row in comparison["rows"] if row["relation"] == relation}


def test_diff_tells_what_a_change_allows_and_denies(started):
    first = started.json("diff", "baseline", "policies", "--requests", "60")
    narrower = rows(first, "narrower")
    assert narrower and not rows(first, "wider") and not rows(first, "incomparable")
    assert ("Service", "keys.encrypt") in narrower and ("Service", "keys.get") not in narrower
    row = next(row for row in first["rows"] if (row["principal"], row["action"]) == ("Service", "keys.encrypt"))
    example = row["narrower"]
    # A test of the folder shows it, so no request had to be made up.
    assert example["source"].startswith("policies/tests/tls.test.json:")
    assert (example["a"]["decision"], example["b"]["policies"]) == ("allow", ["local.tls-for-production"])
    made_up = next(row for row in first["rows"] if row["relation"] == "narrower" and row["principal"] == "Device")
    assert made_up["narrower"]["source"] == "generated"
    assert first == started.json("diff", "baseline", "policies", "--requests", "60")

    said = started.run("diff", "baseline", "policies", "--requests", "60").stdout
    assert "B is narrower for" in said and "not a proof" in said
    started.run("diff", "baseline", "policies", "--requests", "60", "--fail-on-wider")
    back = started.run("diff", "policies", "baseline", "--requests", "60", "--fail-on-wider", code=1)
    assert "B is wider for" in back.stdout and "B allows what A denies" in back.stderr


def test_an_example_of_diff_is_a_test_case(started):
    """What it shows can be put under test as it is."""
    comparison = started.json("diff", "baseline", "policies", "--requests", "60")
    cases = []
    for row in comparison["rows"]:
        example = row["narrower"]
        if example and example["source"] == "generated":
            cases.append({"name": row["action"], "request": example["request"], "entities": example["entities"],
                          "decision": example["b"]["decision"], "reason": example["b"]["policies"], "num_errors": 0})
    assert cases
    started.write("tests/made-up.test.json", json.dumps(cases))
    report = started.json("test", "--tests", "policies/tests/made-up.test.json")
    assert report["passed"] == len(cases) and all("cedarAlone" not in case for case in report["cases"])


@pytest.mark.skipif(not shutil.which("cvc5"), reason="there is no program `cvc5`")
def test_diff_proves(started):
    comparison = started.json("diff", "baseline", "policies", "--requests", "0", "--prove")
    differing = [row for row in comparison["rows"] if row["basis"] != "samePolicies"]
    assert differing and {row["basis"] for row in differing} == {"proof"}
    assert {row["relation"] for row in differing} == {"narrower"}
    # The same by another wording: proven the same.
    other = started.folder / "other"
    shutil.copytree(started.policies, other)
    path = other / "local/tls-for-production.cedar"
    text = path.read_text()
    path.write_text(text[: text.index("\nwhen") + 1] + 'when\n{ resource.registration.environment == '
                    'CipherHub::Environment::"production" && !(context.caller.tls || '
                    'context.caller.channel == CipherHub::Channel::"unix") };\n')
    again = started.json("diff", "policies", "other", "--requests", "0", "--prove")
    assert {row["relation"] for row in again["rows"]} == {"same"}
    assert "proof" in {row["basis"] for row in again["rows"]}
    assert "by proof" in started.run("diff", "policies", "other", "--requests", "0", "--prove").stdout


def test_a_solver_that_is_not_there_is_named(started):
    failed = started.run("diff", "baseline", "policies", "--requests", "0", "--prove", "--solver", "/no/cvc5", code=1)
    assert "/no/cvc5" in failed.stderr


def test_our_own_policies_pass_our_own_tools():
    root = pathlib.Path(__file__).resolve().parents[2] / "policies"
    author = Author(root.parent)
    author.run("check", root / "examples", "--deny-warnings")
    author.run("fmt", "--check", *sorted((root / "baseline").glob("*.cedar")), root / "examples")
    report = author.json("test", root / "examples", "--tests", root / "tests/examples.test.json")
    assert report["failed"] == 0 and report["coverage"]["policiesNever"] == []
