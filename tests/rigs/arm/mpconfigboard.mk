# MicroPython's board for QEMU's mps2-an385 (Cortex-M3), with what a board with a UART has besides: machine.UART,
# select and time. Used by freeze_arm.sh, as BOARD_DIR of ports/qemu.
include boards/MPS2_AN385/mpconfigboard.mk
CFLAGS += -I$(BOARD_DIR) -DMP_CONFIGFILE='"busway_config.h"'
