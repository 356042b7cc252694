// Time for MicroPython on the mps2-an385, out of Timer 0, which counts down at 25 MHz.
// Registers: Arm, Cortex-M System Design Kit, APB Timer. Must be asked once in 171 s, or a round is missed.
#include "py/mphal.h"

typedef struct {
    volatile uint32_t ctrl, value, reload, intstatus;
} timer_regs_t;

#define TIMER ((timer_regs_t *)0x40000000)
#define TICKS_PER_US (25)

// Counted up in parts, for a division of 64 bits needs a library that does not fit the port's linker script.
static uint32_t last, part, us, us_part, ms;

static void look(void) {
    if (!(TIMER->ctrl & 1)) {
        TIMER->reload = TIMER->value = last = 0xffffffff;
        TIMER->ctrl = 1;
    }
    uint32_t now = TIMER->value;
    part += last - now;
    last = now;
    uint32_t whole = part / TICKS_PER_US;
    part %= TICKS_PER_US;
    us += whole;
    us_part += whole;
    ms += us_part / 1000;
    us_part %= 1000;
}

mp_uint_t mp_hal_ticks_us(void) {
    look();
    return us;
}

mp_uint_t mp_hal_ticks_ms(void) {
    look();
    return ms;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return 0xffffffff - TIMER->value;
}

uint64_t mp_hal_time_ns(void) {
    look();
    return (uint64_t)ms * 1000000 + us_part * 1000;
}

void mp_hal_delay_us(mp_uint_t wait) {
    uint32_t start = mp_hal_ticks_us();
    while (mp_hal_ticks_us() - start < wait) {
    }
}

void mp_hal_delay_ms(mp_uint_t wait) {
    uint32_t start = mp_hal_ticks_ms();
    while (mp_hal_ticks_ms() - start < wait) {
    }
}
