/* The extension module around rr_loop.h: bytes in, bytes out, the GIL released between.
 *
 * run(spec) takes a struct rr_spec and what follows it, packed, and gives (struct rr_tally,
 * counts, blocks) as bytes. hot.py knows the layouts and checks the values.
 */
#include <pyconfig.h>
/* One binary for all Pythons from 3.9 on, where there is a stable interface. */
#if !defined(Py_GIL_DISABLED) && !defined(Py_LIMITED_API)
#define Py_LIMITED_API 0x03090000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "rr_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static PyObject *
hot_run(PyObject *module, PyObject *argument)
{
    struct rr_tally tally;
    struct rr_loop *loop = NULL;
    uint64_t *counts = NULL;
    PyObject *result = NULL;
    const void *blocks;
    size_t blocks_bytes;
    char *packed;
    Py_ssize_t length;
    int status;

    (void) module;
    if (PyBytes_AsStringAndSize(argument, &packed, &length) < 0)
        return NULL;
    memset(&tally, 0, sizeof tally);
    /* Not PyMem_Calloc: 3.9 does not declare it to the limited API. */
    counts = calloc(RR_COUNTS, sizeof *counts);
    if (counts == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    loop = rr_open(packed, (size_t) length, counts);
    if (loop == NULL) {
        PyErr_SetFromErrno(PyExc_OSError);
        goto done;
    }
    do {
        Py_BEGIN_ALLOW_THREADS
        status = rr_run(loop, &tally);
        Py_END_ALLOW_THREADS
        if (status == RR_INTERRUPTED && PyErr_CheckSignals() < 0)
            goto done;
    } while (status == RR_INTERRUPTED);
    blocks = rr_blocks(loop, &blocks_bytes);
    if (blocks == NULL) {
        PyErr_SetFromErrno(PyExc_OSError);
        goto done;
    }
    result =
        Py_BuildValue("y#y#y#", (const char *) &tally, (Py_ssize_t) sizeof tally,
                      (const char *) counts, (Py_ssize_t) (RR_COUNTS * sizeof *counts),
                      (const char *) blocks, (Py_ssize_t) blocks_bytes);
done:
    rr_close(loop);
    free(counts);
    return result;
}

static PyObject *
hot_pollers(PyObject *module, PyObject *none)
{
    (void) module;
    (void) none;
    return PyLong_FromLong(rr_pollers());
}

static PyMethodDef hot_methods[] = {
    {"run", hot_run, METH_O, "run(spec: bytes) -> tuple[bytes, bytes, bytes]"},
    {"pollers", hot_pollers, METH_NOARGS, "pollers() -> int"},
    {NULL, NULL, 0, NULL},
};

/* What load.py compares: an extension of other sources must not be run. */
static int
hot_exec(PyObject *module)
{
    if (PyModule_AddIntConstant(module, "spec_bytes", (long) sizeof(struct rr_spec)) < 0
        || PyModule_AddIntConstant(module, "tally_bytes",
                                   (long) sizeof(struct rr_tally))
               < 0
        || PyModule_AddIntConstant(module, "layout", RR_LAYOUT) < 0)
        return -1;
    return PyModule_AddStringConstant(module, "loaded_as", "extension");
}

static PyModuleDef_Slot hot_slots[] = {
    {Py_mod_exec, NULL}, /* hot_exec; see below */
#if defined(Py_GIL_DISABLED)
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef hot_module = {
    PyModuleDef_HEAD_INIT,
    "_hot",
    "The transaction loop in C.",
    0,
    hot_methods,
    hot_slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit__hot(void)
{
    int (*exec)(PyObject *) = hot_exec;

    /* ISO C has no conversion of a function to what the slot wants. */
    memcpy(&hot_slots[0].value, &exec, sizeof exec);
    return PyModuleDef_Init(&hot_module);
}
