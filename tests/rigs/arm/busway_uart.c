// machine.UART of the mps2-an385: UART(1) to UART(4), polled, never waiting to read. Number 0 is the terminal's.
// Registers: Arm, Cortex-M System Design Kit, APB UART. extmod/machine_uart.c includes this file.
#include <string.h>

#include "py/mperrno.h"
#include "py/mphal.h"

#define TX_FULL (1 << 0)
#define RX_FULL (1 << 1)

typedef struct {
    volatile uint32_t data, state, ctrl, intstatus, bauddiv;
} uart_regs_t;

struct _machine_uart_obj_t {
    mp_obj_base_t base;
    uint32_t number;
    uart_regs_t *regs;
};

static machine_uart_obj_t uarts[] = {
    {{&machine_uart_type}, 1, (uart_regs_t *)0x40005000},
    {{&machine_uart_type}, 2, (uart_regs_t *)0x40006000},
    {{&machine_uart_type}, 3, (uart_regs_t *)0x40007000},
    {{&machine_uart_type}, 4, (uart_regs_t *)0x40009000},
};

#define MICROPY_PY_MACHINE_UART_CLASS_CONSTANTS

static void mp_machine_uart_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    machine_uart_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "UART(%u)", (unsigned)self->number);
}

static void mp_machine_uart_init_helper(machine_uart_obj_t *self, size_t n_args, const mp_obj_t *args, mp_map_t *kw) {
    self->regs->bauddiv = 16; // a pty has no baud rate
    self->regs->ctrl = 3;
}

static mp_obj_t mp_machine_uart_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 1, MP_OBJ_FUN_ARGS_MAX, true);
    mp_int_t number = mp_obj_get_int(args[0]);
    if (number < 1 || number > 4) {
        mp_raise_ValueError(MP_ERROR_TEXT("UART(1) to UART(4)"));
    }
    machine_uart_obj_t *self = &uarts[number - 1];
    mp_machine_uart_init_helper(self, 0, NULL, NULL);
    return MP_OBJ_FROM_PTR(self);
}

static void mp_machine_uart_deinit(machine_uart_obj_t *self) {
    self->regs->ctrl = 0;
}

static mp_int_t mp_machine_uart_any(machine_uart_obj_t *self) {
    return (self->regs->state & RX_FULL) ? 1 : 0;
}

static bool mp_machine_uart_txdone(machine_uart_obj_t *self) {
    return !(self->regs->state & TX_FULL);
}

static mp_uint_t mp_machine_uart_read(mp_obj_t self_in, void *buf, mp_uint_t size, int *errcode) {
    machine_uart_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_uint_t count = 0;
    while (count < size && (self->regs->state & RX_FULL)) {
        ((uint8_t *)buf)[count++] = self->regs->data;
    }
    if (count == 0) {
        *errcode = MP_EAGAIN;
        return MP_STREAM_ERROR;
    }
    return count;
}

static mp_uint_t mp_machine_uart_write(mp_obj_t self_in, const void *buf, mp_uint_t size, int *errcode) {
    machine_uart_obj_t *self = MP_OBJ_TO_PTR(self_in);
    for (mp_uint_t i = 0; i < size; ++i) {
        while (self->regs->state & TX_FULL) {
        }
        self->regs->data = ((const uint8_t *)buf)[i];
    }
    return size;
}

static mp_uint_t mp_machine_uart_ioctl(mp_obj_t self_in, mp_uint_t request, uintptr_t arg, int *errcode) {
    machine_uart_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (request == MP_STREAM_POLL) {
        mp_uint_t ready = 0;
        if ((arg & MP_STREAM_POLL_RD) && mp_machine_uart_any(self)) {
            ready |= MP_STREAM_POLL_RD;
        }
        if ((arg & MP_STREAM_POLL_WR) && mp_machine_uart_txdone(self)) {
            ready |= MP_STREAM_POLL_WR;
        }
        return ready;
    }
    if (request == MP_STREAM_FLUSH) {
        return 0;
    }
    *errcode = MP_EINVAL;
    return MP_STREAM_ERROR;
}
