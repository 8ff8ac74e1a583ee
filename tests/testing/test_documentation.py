import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "testing.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
PLUGIN = 'pytest_plugins = ["tallystick.testing.pytest_plugin"]'
SCRIPTS = [example for example in EXAMPLES if "def test_" not in example]
TESTS = [example for example in EXAMPLES if "def test_" in example]


@pytest.mark.parametrize("example", SCRIPTS, ids=range(len(SCRIPTS)))
def test_each_script_of_the_guide_runs_as_it_stands(example):
    exec(compile(example, str(GUIDE), "exec"), {"__name__": "__main__"})  # noqa: S102 - our own guide


def test_the_tests_of_the_guide_pass_with_the_plugin(tmp_path):
    assert SCRIPTS
    assert TESTS
    assert PLUGIN in GUIDE.read_text()
    (tmp_path / "conftest.py").write_text(PLUGIN)
    for number, example in enumerate(TESTS):
        (tmp_path / f"test_example_{number}.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert f"{len(TESTS)} passed" in done.stdout, done.stdout + done.stderr
