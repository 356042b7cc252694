"""Addresses: what a message is sent to, and what is looked up; today always the uuid of one endpoint.

A name for the type, so that a selector (all pumps in the hall) can become another one: most code only hands
an address on, or keys a table with it. It is resolved in one place, `Directory.holders`; from there on all is
said of an entry's own uuid at its own node. A class would cost each send a hash and a comparison in Python.
"""

Address = bytes
