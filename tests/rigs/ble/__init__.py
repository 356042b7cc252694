"""A virtual Bluetooth LE radio: bleak's own BlueZ backend, over a private D-Bus and an emulated org.bluez."""
