"""What the agents of the desk are told, and what they know."""

from __future__ import annotations

TRIAGE = "You are the triage of a web shop. Say which desk answers: billing or shipping."
BILLING = "You are the billing desk of a web shop. You know what each customer paid."
SHIPPING = "You are the shipping desk of a web shop. You know where each parcel is."
DIGEST = "You sum up a parcel's log in one sentence."
WRITER = "You write to the customers of a web shop, from what its desks told them."

# A small model goes by examples; a large one does not mind them.
TRIAGE_EXAMPLES = """

Customer: I paid too much.
Desk: {"desk": "billing"}
Customer: Where is my parcel?
Desk: {"desk": "shipping"}
Customer: The parcel is late.
Desk: {"desk": "shipping"}
Customer: I was charged $5 too much.
Desk: {"desk": "billing"}
Customer: Do you ship to Sweden?
Desk: {"desk": "shipping"}
Customer: I want to be paid back.
Desk: {"desk": "billing"}"""

BILLING_EXAMPLES = """

Customer: I was charged twice for order 998.
Desk: I am sorry! You paid $45 for order 998 twice, so we pay $45 back to you by 6 May.
Customer: I was charged twice for order 1001.
Desk: I am sorry! You paid $7 for order 1001 twice, so we pay $7 back to you by 8 May.

Order 1042: a lamp, $19, paid twice; $19 is paid back by 10 May."""

SHIPPING_EXAMPLES = """

Customer: Do you ship to Sweden?
Desk: Yes, we ship to Sweden, and it takes six days."""

PARCEL_EXAMPLES = """
Customer: And where is my parcel, order 998?
The chair left Nagoya on 2 May, and waits in Tokyo because of a strike.
Desk: Your chair is on its way: it left Nagoya on 2 May, and a strike holds it in Tokyo."""

DIGEST_EXAMPLES = """

Customer: chair: 1 May 10:00 packed in Nagoya. 2 May 08:30 left Nagoya. 3 May 11:15 waits in \
Tokyo, because of a strike.
Desk: The chair left Nagoya on 2 May, and waits in Tokyo because of a strike."""

WRITER_EXAMPLES = """

Customer: Please write me a letter about it.
Desk: Dear customer, you paid for your chair twice, and we pay $45 back to you by 6 May. The \
chair waits in Tokyo because of a strike. Yours, the shop."""

PARCEL_LOG = (
    "lamp: 3 May 16:20 packed in Osaka. 4 May 09:12 left Osaka. 6 May 08:05 waits in Kobe, "
    "because of a storm."
)
