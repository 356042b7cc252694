# The clock, which MicroPython's port for QEMU has not.
SRC_USERMOD_C += $(USERMOD_DIR)/clock.c
