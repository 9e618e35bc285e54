"""The README as a stranger follows it: every command up to the plugins, in order, in one folder."""

import os
import pathlib
import re
import subprocess

from hub import binary

README = pathlib.Path(__file__).parents[2] / "README.md"
# What sets the scene, and is done by this test itself.
SCENE = ("cargo run", "export CIPHER_HUB_", "export PATH=")
# The commands that the text says are refused: part of the block, exit code, word of the message.
REFUSED = [
    ("--context document=other", 1, "does not open"),
    ("cipher-hub decrypt shop/orders", 5, "policy explain dec_"),
]


def blocks():
    """The shell blocks, those that set the scene left out."""
    text = README.read_text().split("\n## Plugins")[0]
    found = re.findall(r"```sh\n(.*?)```", text, re.S)
    return [block for block in found if not block.startswith(SCENE)]


def test_every_command_of_the_readme(make_hub, tmp_path):
    hub = make_hub().start()
    folder, tools = tmp_path / "clone", tmp_path / "bin"
    folder.mkdir()
    tools.mkdir()
    # As in a clone: what is written must not meet what is there.
    for name in ("README.md", "policies", "tests", "plugins"):
        os.symlink(README.parent / name, folder / name)
    os.symlink(binary(), tools / "cipher-hub")
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CIPHER_HUB")},
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CIPHER_HUB_ADDR": hub.url,
        "CIPHER_HUB_API_KEY": hub.key,
    }
    decision, done = None, 0
    for block in blocks():
        # A person is asked and says yes; a file of 300 MB would only take its time.
        block = re.sub(r"(cipher-hub key (?:deactivate|destroy) .*)", r"\1 --yes", block)
        block = block.replace("head -c 300000000", "head -c 3000000")
        if decision:
            block = re.sub(r"dec_main-\d+", decision, block)
        if "after a restart" in block:
            hub.restart()
            env["CIPHER_HUB_ADDR"] = hub.url
        refused = next((one for one in REFUSED if one[0] in block and block.count("\n") == 1), None)
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
        )
        said = ran.stderr.decode(errors="replace")
        expected = refused[1] if refused else 0
        assert ran.returncode == expected, (block, ran.returncode, ran.stdout[-2000:], said[-2000:])
        # `-e` does not see what fails before an `&&`.
        assert ran.stdout.count(b"same") >= block.count("&& echo"), (block, ran.stdout)
        if refused:
            assert refused[2] in said, (block, said)
            decision = (re.findall(r"dec_main-\d+", said) or [decision])[0]
        done += 1
    assert done >= 15 and decision, "the README has other blocks than this test knows"
