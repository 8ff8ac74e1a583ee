"""Several processes on one file; processes that are killed, that fork, and that just end."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from tallystick.ledger import open_ledger

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and kills are of POSIX")


def finished(process, timeout=60):
    output, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, errors
    assert errors == ""
    return output


def test_processes_and_threads_on_one_file_lose_nothing(path, python):
    script = """
ledger = open_ledger(sys.argv[1])
run = open_run(ledger)

def work():
    for _ in range(20):
        entry = held(run)
        ledger.hold(entry, started_ns=1).result()
        assert ledger.finish(settled(entry, 7)).result()

threads = [threading.Thread(target=work) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(run.id)
"""
    processes = [python(script, path) for _ in range(4)]
    runs = [finished(process).strip() for process in processes]
    with open_ledger(path) as ledger:
        for run in runs:
            totals = ledger.totals(run)
            assert (totals.requests, totals.input_tokens) == (120, 840)
            assert (totals.held, totals.in_doubt) == (0, 0)
        found = ledger.verify()
        assert found.ok
        assert (found.runs, found.entries) == (4, 480)


def test_a_killed_process_loses_no_row_that_was_committed(path, python):
    """Twenty kills at random moments, against what the process said was committed."""
    process = python(
        """
import json
rng = random.Random(20)
said = {}
for _ in range(20):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        ledger = open_ledger(sys.argv[1])
        run = open_run(ledger)

        def work():
            while True:
                entry = held(run)
                ledger.hold(entry, started_ns=1).result()
                ledger.mark_sent(entry.id)
                os.write(writing, f"{entry.id} held\\n".encode())
                ledger.finish(settled(entry, 7)).result()
                os.write(writing, f"{entry.id} settled\\n".encode())

        for _ in range(3):
            threading.Thread(target=work).start()
        signal.pause()
    os.close(writing)
    with os.fdopen(reading) as lines:
        first = lines.readline()
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for line in [first, *lines]:
            name, status = line.split()
            said[name] = status
print(json.dumps(said))
""",
        path,
    )
    said = json.loads(finished(process))
    assert len(said) > 20
    with open_ledger(path) as ledger:
        assert ledger.verify().ok
        rows = {entry.id: entry for run in ledger.runs() for entry in ledger.entries(run.id)}
        for name, status in said.items():
            if status == "settled":
                assert (rows[name].status, rows[name].input_tokens) == ("settled", 7)
            else:
                # Its settlement may have been committed without being told of.
                assert rows[name].status in {"in_doubt", "settled"}
        assert {run.outcome for run in ledger.runs()} == {"interrupted"}
    assert [file.name for file in path.parent.iterdir() if "usage" in file.name] == ["usage.db"]


HOLDER = """
ledger = open_ledger(sys.argv[1])
run = open_run(ledger)
entry = held(run)
ledger.hold(entry, started_ns=1).result()
ledger.mark_sent(entry.id)
print(entry.id, flush=True)
sys.stdin.readline()
print(ledger.finish(settled(entry)).result(), flush=True)
"""


def test_what_a_living_process_holds_is_left_alone(path, python):
    process = python(HOLDER, path)
    entry = process.stdout.readline().strip()
    with open_ledger(path) as ledger:
        assert ledger.recover() == 0
        assert ledger.entry(entry).status == "held"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "True\n"
        assert ledger.entry(entry).status == "settled"
    finished(process)


def test_what_a_dead_process_never_sent_is_released(path, python):
    """It said of each request that it was about to leave; of this one it did not."""
    process = python(HOLDER.replace("ledger.mark_sent(entry.id)", ""), path)
    entry = process.stdout.readline().strip()
    process.kill()
    process.wait()
    with open_ledger(path) as ledger:
        found = ledger.entry(entry)
        assert (found.status, found.error_type) == ("released", "never_sent")
        assert ledger.verify().ok


def test_what_a_dead_process_held_is_in_doubt_and_never_released(path, python):
    """I4: it may have been sent, so it is not taken back; and a late answer still settles it."""
    process = python(HOLDER, path)
    entry = process.stdout.readline().strip()
    process.send_signal(signal.SIGSTOP)
    with open_ledger(path) as ledger:
        # Stopped is not dead.
        assert ledger.entry(entry).status == "held"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open_ledger(path, read_only=True) as ledger:
        assert ledger.entry(entry).status == "held"
    with open_ledger(path) as ledger:
        doubt = ledger.entry(entry)
        assert doubt.status == "in_doubt"
        assert ledger.run(doubt.run_id).outcome == "interrupted"
        assert ledger.totals(doubt.run_id).in_doubt == 1
        assert ledger.finish(doubt.replace(status="settled", input_tokens=3)).result()
        assert ledger.verify().ok


def test_a_child_does_not_keep_its_dead_parent_alive(path, python):
    process = python(
        """
ledger = open_ledger(sys.argv[1])
run = open_run(ledger)
entry = held(run)
ledger.hold(entry, started_ns=1).result()
ledger.mark_sent(entry.id)
child = os.fork()
if child == 0:
    mine = held(run)
    ledger.hold(mine, started_ns=1).result()
    print(entry.id, mine.id, flush=True)
    sys.stdin.readline()
    os._exit(0)
os.waitpid(child, 0)
""",
        path,
    )
    parents, childs = process.stdout.readline().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open_ledger(path) as ledger:
        assert ledger.entry(parents).status == "in_doubt"
        assert ledger.entry(childs).status == "held"


def test_a_ledger_goes_on_in_parent_and_child_of_a_fork(path, python):
    """The child neither writes what the parent had queued, nor ends what the parent holds."""
    process = python(
        """
ledger = open_ledger(sys.argv[1])
run = open_run(ledger)
mine = held(run)
ledger.hold(mine, started_ns=1).result()
stop, written = threading.Event(), []

def work():
    while not stop.is_set():
        entry = held(run)
        ledger.hold(entry, started_ns=1).result()
        ledger.finish(settled(entry)).result()
        written.append(entry.id)

threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
children = []
for _ in range(5):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        for _ in range(10):
            entry = held(run)
            ledger.hold(entry, started_ns=1).result()
            assert ledger.finish(settled(entry, 1000)).result()
        sys.exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
stop.set()
[thread.join() for thread in threads]
assert ledger.entry(mine.id).status == "held"
assert ledger.finish(settled(mine)).result()
totals = ledger.totals(run.id)
assert totals.held == 0
assert totals.requests == 50 + 1 + len(written), (totals, len(written))
assert totals.input_tokens == 50_000 + 10 + 10 * len(written)
assert ledger.verify().ok, ledger.verify()
ledger.close_run(run.id, 5, "completed").result()
""",
        path,
    )
    if sys.version_info < (3, 12):
        # Newer versions warn of a fork with threads, which is what is done here on purpose.
        finished(process)
    else:
        process.communicate(timeout=60)
    with open_ledger(path) as ledger:
        assert ledger.verify().ok
        assert ledger.runs()[0].outcome == "completed"


@pytest.mark.parametrize("way", ["end", "exit", "raise", "multiprocessing"])
def test_what_was_asked_is_kept_when_the_process_ends_without_closing(path, python, way):
    process = python(
        """
import asyncio, multiprocessing
way = sys.argv[2]

async def ask(ledger):
    # Nobody waits for these.
    run = RunRow(id := clock.id("run"), None, id, "trip", None, clock.now())
    ledger.open_run(run)
    for _ in range(300):
        ledger.hold(held(run), started_ns=1)

def work():
    asyncio.run(ask(open_ledger(sys.argv[1])))

if way == "multiprocessing":
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
else:
    work()
if way == "exit":
    sys.exit(0)
if way == "raise":
    raise KeyError("of the user's own")
""",
        path,
        way,
    )
    _, errors = process.communicate(timeout=60)
    assert "tallystick" not in errors.replace("KeyError: 'of the user's own'", "")
    assert process.returncode == (1 if way == "raise" else 0), errors
    with open_ledger(path, read_only=True) as ledger:
        (run,) = ledger.runs()
        entries = ledger.entries(run.id)
        assert len(entries) == 300
        # The process closed the ledger in order, so nothing waits to be recovered.
        assert {entry.status for entry in entries} == {"in_doubt"}
        assert ledger.verify().ok


def test_a_ledger_in_memory_is_copied_to_a_child(python):
    process = python(
        """
ledger = open_ledger(":memory:")
run = open_run(ledger)
child = os.fork()
for _ in range(5 if child else 3):
    ledger.hold(entry := held(run), started_ns=1).result()
    ledger.finish(settled(entry)).result()
assert ledger.totals(run.id).requests == (5 if child else 3)
assert ledger.verify().ok
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    )
    finished(process)


def test_opening_one_new_file_from_many_processes_at_once(path, python):
    script = """
sys.stdin.readline()
ledger = open_ledger(sys.argv[1])
open_run(ledger)
assert ledger.verify().ok
"""
    processes = [python(script, path) for _ in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        finished(process)
    with open_ledger(path) as ledger:
        assert len(ledger.runs()) == 4
