"""Programs of one bus that find each other on the local network, and boards that show up at serial ports and
in Bluetooth's range.

Loaded by a bus with `lan=True`, by `connect("serial://*")` and `connect("ble://*")`, and by `found()`.
"""
