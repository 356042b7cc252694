# The clock and cryptolib, which MicroPython's port for QEMU has not; freeze_arm.sh puts mbedtls' source here.
MBEDTLS := $(USERMOD_DIR)/mbedtls
SRC_USERMOD_C += $(USERMOD_DIR)/clock.c $(USERMOD_DIR)/cryptolib.c
SRC_USERMOD_C += $(MBEDTLS)/library/aes.c $(MBEDTLS)/library/platform_util.c
CFLAGS_USERMOD += -I$(MBEDTLS)/include -I$(MBEDTLS)/library -DMBEDTLS_CONFIG_FILE='"$(USERMOD_DIR)/mbedtls_config.h"'
