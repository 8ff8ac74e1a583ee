"""The script: which reply a request is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from tallystick.testing.example import answer
from tallystick.testing.reply import Fail, Part, Reply, reply_of
from tallystick.testing.request import Request

__all__ = ["Answer", "Script", "Scripts", "Step"]

Answer = Reply | Part | Sequence[Part]
"""A reply, or what stands for one."""

Step = Answer | Callable[[Request], Answer | None]
"""An answer, or a function of the request that gives one; None asks for the default answer."""


class Script:
    """Replies in order, for the requests that match. `Provider.script` makes one."""

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        model: str | None,
        when: Callable[[Request], bool] | None,
        repeat: bool,
    ) -> None:
        if not steps:
            raise ValueError("a script needs at least one reply")
        # What is no reply is refused here, where the mistake is, and not when it is asked for.
        self._steps = [step if callable(step) else reply_of(step) for step in steps]
        self._model = model
        self._when = when
        self._repeat = repeat
        self._used = 0
        self._lock = Lock()

    @property
    def used(self) -> int:
        """How many replies were given."""
        return self._used

    @property
    def remaining(self) -> int:
        """How many replies are left; a repeated script always has all of them."""
        return len(self._steps) - (0 if self._repeat else self._used)

    def matches(self, request: Request) -> bool:
        """Whether the script is for this request."""
        if self._model is not None and request.model != self._model:
            return False
        return self._when is None or bool(self._when(request))

    def take(self) -> Callable[[Request], Answer | None] | Reply | None:
        """Return the next step, or None when there are no more."""
        with self._lock:
            if self.remaining == 0:
                return None
            step = self._steps[self._used % len(self._steps)]
            self._used += 1
            return step


class Scripts:
    """All scripts of a provider, in the order in which they were added."""

    def __init__(self) -> None:
        self._scripts: list[Script] = []

    def add(self, script: Script) -> None:
        """Add a script behind the others."""
        self._scripts.append(script)

    @property
    def remaining(self) -> int:
        """How many replies are left in all of them."""
        return sum(script.remaining for script in self._scripts)

    def reply_to(self, request: Request) -> Reply:
        """Return the next reply of the first script that matches and has one left.

        Where there is none, or it has only faults, the content is that of the default answer.
        """
        reply = self._scripted(request)
        if reply is None:
            return answer(request)
        if not reply.content and not reply.fault(Fail):
            return Reply(
                *answer(request).parts,
                *reply.parts,
                reasoning_tokens=reply.reasoning_tokens,
                model=reply.model,
                service_tier=reply.service_tier,
            )
        return reply

    def _scripted(self, request: Request) -> Reply | None:
        for script in list(self._scripts):
            if not script.matches(request):
                continue
            step = script.take()
            if step is None:
                continue
            given = step(request) if callable(step) else step
            return None if given is None else reply_of(given)
        return None
