"""CRC-32 by carry-less multiplication: the same numbers as ``zlib.crc32``, several times as fast.

A polynomial over GF(2) may be folded: what stands D bits before the end of a message counts in the remainder as if it
were multiplied by x^D modulo the polynomial and stood at the end (V. Gopal et al.: Fast CRC computation for generic
polynomials using PCLMULQDQ instruction. Intel, 2009). So four blocks of 16 bytes are folded into the four that follow,
again and again, at last into one, and the remainder of what is left of it is looked up byte by byte. Bits are in the
order of the wire, the lowest of a byte first; so a product of two 64-bit numbers is one bit short, which the factors
make up for. Where the processor multiplies four pairs at once (VPCLMULQDQ), rows of four blocks are folded like blocks.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>

    static uint32_t remainders[256];  /* of each byte */
    static int wide;                  /* whether four blocks are folded at once */
    static uint64_t factors_256[2];   /* that fold 16 bytes into those 256 bytes on */
    static uint64_t factors_64[2];    /* that fold 16 bytes into those 64 bytes on: for the lower half, and the upper */
    static uint64_t factors_16[2];    /* and 16 bytes on */

    static uint32_t by_bytes(uint32_t crc, const unsigned char *data, size_t size) {
        while (size--)
            crc = remainders[(crc ^ *data++) & 0xff] ^ (crc >> 8);
        return crc;
    }

    #if defined(__x86_64__) && defined(__GNUC__)
    #include <immintrin.h>

    static int usable(void) {
        return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse2");
    }

    __attribute__((target("pclmul,sse2")))
    static inline __m128i fold(__m128i block, __m128i factors, const void *next) {
        __m128i lower = _mm_clmulepi64_si128(block, factors, 0x00);
        __m128i upper = _mm_clmulepi64_si128(block, factors, 0x11);
        return _mm_xor_si128(_mm_xor_si128(lower, upper), _mm_loadu_si128((const __m128i *)next));
    }

    /* The 64 bytes of four blocks, and all that follows them. */
    __attribute__((target("pclmul,sse2")))
    static uint32_t from_blocks(__m128i *block, const unsigned char *data, size_t size) {
        __m128i factors = _mm_loadu_si128((const __m128i *)factors_64);
        unsigned char rest[16];
        int i;
        for (; size >= 64; data += 64, size -= 64)
            for (i = 0; i < 4; i++)
                block[i] = fold(block[i], factors, data + 16 * i);
        factors = _mm_loadu_si128((const __m128i *)factors_16);
        for (i = 1; i < 4; i++)
            block[i] = fold(block[i - 1], factors, &block[i]);
        for (; size >= 16; data += 16, size -= 16)
            block[3] = fold(block[3], factors, data);
        _mm_storeu_si128((__m128i *)rest, block[3]);
        return by_bytes(by_bytes(0, rest, 16), data, size);
    }

    #define WIDE __attribute__((target("vpclmulqdq,pclmul,avx512f,sse2")))

    static int usable_wide(void) {
        return __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f");
    }

    WIDE static inline __m512i fold_row(__m512i blocks, const uint64_t *factors, __m512i next) {
        __m512i both = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)factors));
        __m512i lower = _mm512_clmulepi64_epi128(blocks, both, 0x00);
        __m512i upper = _mm512_clmulepi64_epi128(blocks, both, 0x11);
        return _mm512_ternarylogic_epi64(lower, upper, next, 0x96); /* the exclusive or of three */
    }

    /* As by_blocks(), four blocks at once, in four rows; size is 256 at least. */
    WIDE static uint32_t by_rows(uint32_t crc, const unsigned char *data, size_t size) {
        __m512i row[4];
        __m128i block[4];
        int i;
        for (i = 0; i < 4; i++)
            row[i] = _mm512_loadu_si512(data + 64 * i);
        row[0] = _mm512_xor_si512(row[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
        for (data += 256, size -= 256; size >= 256; data += 256, size -= 256)
            for (i = 0; i < 4; i++)
                row[i] = fold_row(row[i], factors_256, _mm512_loadu_si512(data + 64 * i));
        for (i = 1; i < 4; i++)
            row[i] = fold_row(row[i - 1], factors_64, row[i]);
        _mm512_storeu_si512(block, row[3]);
        _mm256_zeroupper(); /* what follows has no need of wide registers, and would be slow beside them */
        return from_blocks(block, data, size);
    }

    __attribute__((target("pclmul,sse2")))
    static uint32_t by_blocks(uint32_t crc, const unsigned char *data, size_t size) {
        __m128i block[4];
        int i;
        if (wide && size >= 256)
            return by_rows(crc, data, size);
        for (i = 0; i < 4; i++)
            block[i] = _mm_loadu_si128((const __m128i *)data + i);
        block[0] = _mm_xor_si128(block[0], _mm_cvtsi32_si128((int)crc));
        return from_blocks(block, data + 64, size - 64);
    }
    #else
    static int usable(void) { return 0; }
    static int usable_wide(void) { return 0; }
    static uint32_t by_blocks(uint32_t crc, const unsigned char *data, size_t size) { return by_bytes(crc, data, size); }
    #endif
    """
    uint32_t remainders[256]
    bint wide
    uint64_t factors_256[2]
    uint64_t factors_64[2]
    uint64_t factors_16[2]
    uint32_t by_bytes(uint32_t crc, const unsigned char *data, size_t size) nogil
    uint32_t by_blocks(uint32_t crc, const unsigned char *data, size_t size) nogil
    bint usable()
    bint usable_wide()


if not usable():
    raise ImportError("this processor has no carry-less multiplication")

cdef enum:
    _POLYNOMIAL = 0xEDB88320  # without x^32; the highest power is the lowest bit


cdef uint64_t _power(int exponent):
    """x to this power modulo the polynomial, and one bit further on."""
    cdef uint32_t rest = 0x80000000  # 1
    cdef int i
    for i in range(exponent):
        rest = (rest >> 1) ^ (_POLYNOMIAL if rest & 1 else 0)
    return <uint64_t>rest << 1


cdef _fill():
    cdef uint32_t byte, rest
    cdef int i
    for byte in range(256):
        rest = byte
        for i in range(8):
            rest = (rest >> 1) ^ (_POLYNOMIAL if rest & 1 else 0)
        remainders[byte] = rest
    # The lower half of a block comes first, so it stands 64 bits further from the end than the upper one. A factor has 32
    # bits and stands in 64.
    factors_256[:] = [_power(16 * 128 + 32), _power(16 * 128 - 32)]
    factors_64[:] = [_power(4 * 128 + 32), _power(4 * 128 - 32)]
    factors_16[:] = [_power(128 + 32), _power(128 - 32)]


_fill()
wide = usable_wide()


def fold_wide(bint on):
    """Fold four blocks at once, or one after the other, as a processor without AVX-512 does. For tests and benchmarks.

    Returns:
        Whether this processor can do what was asked for. If not, nothing changes.
    """
    global wide
    if on and not usable_wide():
        return False
    wide = on
    return True


def crc32(data, uint32_t value=0, /):
    """The CRC-32 of some bytes that follow those of which it was ``value``.

    Raises:
        TypeError: ``data`` has no bytes.
        BufferError: they do not stand one after the other.
        OverflowError: ``value`` does not have 32 bits.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    value = _checksum(<const unsigned char *>view.buf, view.len, value)
    PyBuffer_Release(&view)
    return value


cdef uint32_t _checksum(const unsigned char *data, size_t size, uint32_t value) noexcept:
    return ~(by_blocks(~value, data, size) if size >= 64 else by_bytes(~value, data, size))


def sealed(bytes head not None, list pieces not None, /):
    """``head`` and what follows it in one, and the CRC-32 of all that at its end, big endian. Each byte is copied once.

    Raises:
        TypeError: a piece has no bytes.
        BufferError: they do not stand one after the other.
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(head)
    cdef object piece
    for piece in pieces:
        size += PyBytes_GET_SIZE(piece) if type(piece) is bytes else len(memoryview(piece).cast("B"))
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, size + 4)
    cdef unsigned char *start = <unsigned char *>PyBytes_AS_STRING(whole)
    cdef unsigned char *end = start + size
    cdef unsigned char *at = _append(start, end, head)
    for piece in pieces:
        at = _append(at, end, piece)
    cdef uint32_t checksum = _checksum(start, size, 0)
    for size in range(4):
        end[size] = checksum >> (24 - 8 * size) & 0xFF
    return whole


cdef unsigned char *_append(unsigned char *at, const unsigned char *end, piece) except NULL:
    """Copy a piece to where there is room for it, and return where it ends."""
    cdef Py_buffer view
    if type(piece) is bytes:
        memcpy(at, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
        return at + PyBytes_GET_SIZE(piece)
    PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE)
    if view.len > end - at:
        PyBuffer_Release(&view)
        raise BufferError("a piece grew")
    memcpy(at, view.buf, view.len)
    at += view.len
    PyBuffer_Release(&view)
    return at
