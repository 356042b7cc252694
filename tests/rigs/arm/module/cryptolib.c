// MicroPython's cryptolib over mbedtls, which its port for QEMU leaves out and real boards have.
#include "py/mpconfig.h"
#undef MICROPY_PY_CRYPTOLIB
#define MICROPY_PY_CRYPTOLIB (1)
#undef MICROPY_SSL_MBEDTLS
#define MICROPY_SSL_MBEDTLS (1)
#include "extmod/modcryptolib.c"
