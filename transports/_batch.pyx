# cython: boundscheck=False, wraparound=False
"""Reading and writing datagrams in batches: ``recvmmsg`` and ``sendmmsg``, Linux only.

One system call moves up to ``count`` datagrams. Buffers, message headers and socket addresses are allocated once, when
the object is made. What each method promises is written in ``_plain.py``, which has the same face and which a test
holds against this module.

The unit of both calls is a run of datagrams in two parallel lists, so that segmentation offload (``UDP_SEGMENT``,
``UDP_GRO``) can come in below them: a run of one destination and one size becomes one message, and one message that was
received becomes several places of the lists.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

cdef extern from "<netinet/in.h>" nogil:
    int AF_INET
    int AF_INET6
    uint32_t htonl(uint32_t value)
    uint32_t ntohl(uint32_t value)
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        unsigned char s6_addr[16]
    struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id

cdef extern from "<sys/socket.h>" nogil:
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int MSG_TRUNC
    ctypedef unsigned int socklen_t
    struct sockaddr_storage:
        unsigned short ss_family
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, void *timeout)
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)

cdef enum:
    IPV4_SIZE = 6
    IPV6_SIZE = 22
    HEADER_MAX = 64
    COUNT_MAX = 1024
    SIZE_MAX = 65536


cdef int pack(const sockaddr_storage *address, unsigned char *packed) noexcept nogil:
    """Write the packed form of an address (see ``_addresses.py``) and return its size, 0 for a foreign family."""
    cdef const sockaddr_in *v4
    cdef const sockaddr_in6 *v6
    cdef uint32_t scope
    if address.ss_family == AF_INET:
        v4 = <const sockaddr_in *> address
        memcpy(packed, &v4.sin_addr, 4)
        memcpy(packed + 4, &v4.sin_port, 2)
        return IPV4_SIZE
    if address.ss_family == AF_INET6:
        v6 = <const sockaddr_in6 *> address
        scope = htonl(v6.sin6_scope_id)
        memcpy(packed, &v6.sin6_addr, 16)
        memcpy(packed + 16, &v6.sin6_port, 2)
        memcpy(packed + 18, &scope, 4)
        return IPV6_SIZE
    return 0


cdef socklen_t unpack(const unsigned char *packed, Py_ssize_t size, sockaddr_storage *address) noexcept nogil:
    """Write the socket address of a packed one and return its size, 0 if it is none."""
    cdef sockaddr_in *v4
    cdef sockaddr_in6 *v6
    cdef uint32_t scope
    if size == IPV4_SIZE:
        v4 = <sockaddr_in *> address
        memset(v4, 0, sizeof(sockaddr_in))
        v4.sin_family = AF_INET
        memcpy(&v4.sin_addr, packed, 4)
        memcpy(&v4.sin_port, packed + 4, 2)
        return sizeof(sockaddr_in)
    if size == IPV6_SIZE:
        v6 = <sockaddr_in6 *> address
        memset(v6, 0, sizeof(sockaddr_in6))
        v6.sin6_family = AF_INET6
        memcpy(&v6.sin6_addr, packed, 16)
        memcpy(&v6.sin6_port, packed + 16, 2)
        memcpy(&scope, packed + 18, 4)
        v6.sin6_scope_id = ntohl(scope)
        return sizeof(sockaddr_in6)
    return 0


cdef class Receiver:
    """Reads what waits in one non-blocking socket; see ``_plain.Receiver``."""

    cdef object _socket
    cdef mmsghdr *_messages
    cdef iovec *_vectors
    cdef sockaddr_storage *_addresses
    cdef unsigned char *_buffer
    cdef int _count
    cdef int _used
    cdef size_t _header_size
    cdef bytes _skip
    cdef bytes _origin
    cdef readonly long long skipped
    cdef readonly long long oversized
    cdef readonly long long undersized

    def __cinit__(self, sock, int count, size_t size, size_t header_size=0, bytes skip=None):
        cdef size_t stride = header_size + size
        cdef int place
        if not 1 <= count <= COUNT_MAX or not 1 <= size <= SIZE_MAX or header_size > HEADER_MAX:
            raise ValueError(
                f"count must be 1 to {COUNT_MAX}, size 1 to {SIZE_MAX} and header_size 0 to {HEADER_MAX}, "
                f"not {count}, {size} and {header_size}"
            )
        self._messages = <mmsghdr *> calloc(count, sizeof(mmsghdr))
        self._vectors = <iovec *> calloc(count, sizeof(iovec))
        self._addresses = <sockaddr_storage *> calloc(count, sizeof(sockaddr_storage))
        self._buffer = <unsigned char *> calloc(count, stride)
        if self._messages == NULL or self._vectors == NULL or self._addresses == NULL or self._buffer == NULL:
            raise MemoryError
        for place in range(count):
            self._vectors[place].iov_base = self._buffer + place * stride
            self._vectors[place].iov_len = stride
            self._messages[place].msg_hdr.msg_iov = &self._vectors[place]
            self._messages[place].msg_hdr.msg_iovlen = 1
            self._messages[place].msg_hdr.msg_name = &self._addresses[place]
        self._socket = sock
        self._count = count
        self._used = count
        self._header_size = header_size
        self._skip = skip
        self._origin = b""

    def __dealloc__(self):
        free(self._messages)
        free(self._vectors)
        free(self._addresses)
        free(self._buffer)

    def receive(self, list origins not None, list datagrams not None):
        """Append what waits, and its origins; see ``_plain.Receiver.receive``."""
        cdef int fd = self._socket.fileno()
        cdef int read, place, error, address_size
        cdef size_t length, origin_size
        cdef const unsigned char *data
        cdef mmsghdr *message
        cdef unsigned char origin[IPV6_SIZE + HEADER_MAX]
        # The system writes the size of each address over the room there is for it.
        for place in range(self._used):
            self._messages[place].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
        with nogil:
            read = recvmmsg(fd, self._messages, self._count, MSG_DONTWAIT, NULL)
            error = errno
        if read < 0:
            self._used = 0
            return 0 if error == EAGAIN or error == EINTR else -error
        self._used = read
        for place in range(read):
            message = &self._messages[place]
            length = message.msg_len
            if message.msg_hdr.msg_flags & MSG_TRUNC:
                self.oversized += 1
                continue
            if length <= self._header_size:
                self.undersized += 1
                continue
            data = <const unsigned char *> self._vectors[place].iov_base
            address_size = pack(&self._addresses[place], origin)
            memcpy(origin + address_size, data, self._header_size)
            origin_size = address_size + self._header_size
            if self._skip is not None and _same(self._skip, origin, origin_size):
                self.skipped += 1
                continue
            # Datagrams come in runs of one sender: most share the origin of the one before.
            if not _same(self._origin, origin, origin_size):
                self._origin = PyBytes_FromStringAndSize(<char *> origin, origin_size)
            origins.append(self._origin)
            datagrams.append(
                PyBytes_FromStringAndSize(<char *> data + self._header_size, length - self._header_size)
            )
        return read


cdef inline bint _same(bytes known, const unsigned char *data, size_t size) noexcept:
    """Whether ``known`` is exactly these bytes."""
    return <size_t> PyBytes_GET_SIZE(known) == size and memcmp(PyBytes_AS_STRING(known), data, size) == 0


cdef class Sender:
    """Writes to one non-blocking socket; see ``_plain.Sender``."""

    cdef object _socket
    cdef mmsghdr *_messages
    cdef iovec *_vectors
    cdef sockaddr_storage *_addresses
    cdef int _count
    cdef bytes _header
    cdef int _parts
    cdef readonly long long datagrams_sent
    cdef readonly long long bytes_sent

    def __cinit__(self, sock, int count, bytes header not None=b""):
        cdef int place
        if not 1 <= count <= COUNT_MAX or len(header) > HEADER_MAX:
            raise ValueError(
                f"count must be 1 to {COUNT_MAX} and the header 0 to {HEADER_MAX} bytes, not {count} and {len(header)}"
            )
        self._socket = sock
        self._count = count
        self._header = header
        self._parts = 2 if header else 1
        self._messages = <mmsghdr *> calloc(count, sizeof(mmsghdr))
        self._vectors = <iovec *> calloc(count * self._parts, sizeof(iovec))
        self._addresses = <sockaddr_storage *> calloc(count, sizeof(sockaddr_storage))
        if self._messages == NULL or self._vectors == NULL or self._addresses == NULL:
            raise MemoryError
        for place in range(count):
            # With a header each datagram is two pieces, so that it need not be copied.
            if header:
                self._vectors[2 * place].iov_base = PyBytes_AS_STRING(header)
                self._vectors[2 * place].iov_len = len(header)
            self._messages[place].msg_hdr.msg_iov = &self._vectors[self._parts * place]
            self._messages[place].msg_hdr.msg_iovlen = self._parts
            self._messages[place].msg_hdr.msg_name = &self._addresses[place]

    def __dealloc__(self):
        free(self._messages)
        free(self._vectors)
        free(self._addresses)

    def send(self, list addresses not None, list datagrams not None, Py_ssize_t start):
        """Send from place ``start`` on; see ``_plain.Sender.send``."""
        cdef int fd = self._socket.fileno()
        cdef int sent, error, place, count
        cdef Py_ssize_t left = len(datagrams) - start
        cdef iovec *vector
        cdef socklen_t size
        if start < 0 or len(addresses) != len(datagrams):
            raise ValueError("start must not be negative, and the lists must have one length")
        if left <= 0:
            return 0
        count = <int> left if left < self._count else self._count
        for place in range(count):
            address = <bytes?> addresses[start + place]
            datagram = <bytes?> datagrams[start + place]
            size = unpack(
                <const unsigned char *> PyBytes_AS_STRING(address), PyBytes_GET_SIZE(address), &self._addresses[place]
            )
            if size == 0:
                raise ValueError(
                    f"a packed address has {IPV4_SIZE} or {IPV6_SIZE} bytes, not {PyBytes_GET_SIZE(address)}"
                )
            self._messages[place].msg_hdr.msg_namelen = size
            vector = &self._vectors[self._parts * place + self._parts - 1]
            vector.iov_base = PyBytes_AS_STRING(datagram)
            vector.iov_len = PyBytes_GET_SIZE(datagram)
        with nogil:
            sent = sendmmsg(fd, self._messages, count, MSG_DONTWAIT | MSG_NOSIGNAL)
            error = errno
        if sent < 0:
            return -error
        self.datagrams_sent += sent
        for place in range(sent):
            self.bytes_sent += self._vectors[self._parts * place + self._parts - 1].iov_len
        return sent
