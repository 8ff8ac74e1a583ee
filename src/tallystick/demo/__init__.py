"""The demonstration: a support desk of five agents on the OpenAI Agents SDK, counted.

``tallystick demo`` runs it. The conversation has what makes usage hard to count: a request that
fails and is sent again, an agent inside another agent, an answer that is streamed, and one that
is cancelled in the middle. What Tallystick kept is then put beside what the model's own server
counted, and beside what the Agents SDK's counters say of the same runs.

It needs ``pip install 'tallystick[demo]'`` for a language model on this machine; without one it
runs on the testing provider.
"""
