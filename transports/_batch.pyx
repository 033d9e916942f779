# cython: boundscheck=False, wraparound=False
"""Reading and writing datagrams in batches: ``recvmmsg``, ``sendmmsg`` and segmentation offload, Linux only.

One system call moves many messages. Where the kernel supports it (``UDP_SEGMENT``, Linux 4.18, and ``UDP_GRO``, 5.0), a
message is a run of datagrams. The datagrams of a run have one destination and one size; the last may be shorter. A run
passes through the kernel as one message, and arrives at the receiver as one. The module tries runs for each address
separately, since support depends on the path. Where a path does not support them, every datagram is a message of its
own.

Buffers, message headers and socket addresses are allocated once, when the object is made. The promises of each method
are in ``_plain.py``, which has the same interface; a test compares the two modules.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, errno
from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from ringproto.transports._segments cimport Joiner

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
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *control)
    unsigned char *CMSG_DATA(cmsghdr *control)
    size_t CMSG_LEN(size_t length)
    size_t CMSG_SPACE(size_t length)
    int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
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
    # From <linux/udp.h>, which older headers lack; the limits are those of the kernel.
    SOL_UDP = 17
    UDP_SEGMENT = 103
    UDP_GRO = 104
    SEGMENTS_MAX = 64
    RUN_BYTES_MAX = 65000
    COALESCED_MAX = 65536
    COALESCED_COUNT = 16
    CONTROL_SIZE = 64
    # The header of a segment, and the maximum number of padding zeros after a segment (_segments.py).
    HEAD_SIZE = 8
    PADDING_MAX = 64
    # An outgoing datagram consists of at most a front, a piece and padding.
    PARTS_MAX = 3
    # The number of bytes of a datagram from an unknown origin that are passed to `introduce` (_claims.py).
    HEAD_MAX = 24
    # Maximum number of addresses that are remembered as those to which no runs go; more than a transport knows.
    PLAIN_MAX = 2048
    # Sending more messages than this takes long enough to release Python's lock for other threads.
    KEPT_MAX = 16


cdef unsigned char[PADDING_MAX] zeros


cdef int pack(const sockaddr_storage *address, unsigned char *packed) noexcept nogil:
    """Write the packed form of an address (see ``_addresses.py``) and return its size, 0 for an unsupported family."""
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
    """Write the socket address of a packed address and return its size, 0 if the packed address is invalid."""
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
    """Reads waiting datagrams from one non-blocking socket; see ``_plain.Receiver``."""

    cdef object _socket
    cdef mmsghdr *_messages
    cdef iovec *_vectors
    cdef sockaddr_storage *_addresses
    cdef unsigned char *_buffer
    cdef unsigned char *_controls
    cdef readonly int count
    cdef readonly bint coalesces
    cdef public bint keeps_gil
    cdef int _used
    cdef size_t _size
    cdef size_t _header_size
    cdef bytes _skip
    # The origin of the last datagram, whether it was looked up in this call, and the result of the look-up.
    cdef bytes _origin
    cdef bint _looked_up
    cdef bint _welcome
    cdef readonly bytes last_origin
    cdef readonly long long skipped
    cdef readonly long long oversized
    cdef readonly long long undersized

    def __cinit__(self, sock, int count, size_t size, size_t header_size=0, bytes skip=None, bint coalesce=False):
        cdef size_t stride = header_size + size
        cdef int place
        cdef int on = 1
        cdef int fd = sock.fileno()
        if not 1 <= count <= COUNT_MAX or not 1 <= size <= SIZE_MAX or header_size > HEADER_MAX:
            raise ValueError(
                f"count must be 1 to {COUNT_MAX}, size 1 to {SIZE_MAX} and header_size 0 to {HEADER_MAX}, "
                f"not {count}, {size} and {header_size}"
            )
        self.coalesces = coalesce and setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)) == 0
        if self.coalesces:
            # A message may have the maximum length of a UDP datagram, so there are fewer of them.
            count = min(count, COALESCED_COUNT)
            stride = COALESCED_MAX
        self._messages = <mmsghdr *> calloc(count, sizeof(mmsghdr))
        self._vectors = <iovec *> calloc(count, sizeof(iovec))
        self._addresses = <sockaddr_storage *> calloc(count, sizeof(sockaddr_storage))
        self._buffer = <unsigned char *> calloc(count, stride)
        self._controls = <unsigned char *> calloc(count, CONTROL_SIZE)
        if (
            self._messages == NULL
            or self._vectors == NULL
            or self._addresses == NULL
            or self._buffer == NULL
            or self._controls == NULL
        ):
            raise MemoryError
        for place in range(count):
            self._vectors[place].iov_base = self._buffer + place * stride
            self._vectors[place].iov_len = stride
            self._messages[place].msg_hdr.msg_iov = &self._vectors[place]
            self._messages[place].msg_hdr.msg_iovlen = 1
            self._messages[place].msg_hdr.msg_name = &self._addresses[place]
            self._messages[place].msg_hdr.msg_control = self._controls + place * CONTROL_SIZE
        self._socket = sock
        self.count = count
        self._used = count
        self._size = size
        self._header_size = header_size
        self._skip = skip
        self._origin = b""
        self.last_origin = b""

    def __dealloc__(self):
        free(self._messages)
        free(self._vectors)
        free(self._addresses)
        free(self._buffer)
        free(self._controls)

    def receive(self, Joiner joiner not None, known, introduce, list whole not None):
        """Pass waiting datagrams to ``joiner``; see ``_plain.Receiver.receive``."""
        cdef int fd = self._socket.fileno()
        cdef int read, place, error
        cdef mmsghdr *message
        # The system overwrites these sizes of buffer space with the actual sizes of the address and of the control
        # data.
        for place in range(self._used):
            self._messages[place].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
            self._messages[place].msg_hdr.msg_controllen = CONTROL_SIZE
        if self.keeps_gil:
            read = recvmmsg(fd, self._messages, self.count, MSG_DONTWAIT, NULL)
            error = errno
        else:
            with nogil:
                read = recvmmsg(fd, self._messages, self.count, MSG_DONTWAIT, NULL)
                error = errno
        if read < 0:
            self._used = 0
            return 0 if error == EAGAIN or error == EINTR else -error
        self._used = read
        self._looked_up = False
        for place in range(read):
            message = &self._messages[place]
            if message.msg_hdr.msg_flags & MSG_TRUNC:
                self.oversized += 1
            else:
                self._take_apart(place, message.msg_len, _segment_size(&message.msg_hdr), joiner, known, introduce, whole)
        return read

    cdef int _take_apart(
        self, int place, size_t length, size_t segment, Joiner joiner, object known, object introduce, list whole
    ) except -1:
        """Pass on the datagrams of one message: ``length`` bytes in total, each datagram of ``segment`` bytes but the
        last.

        The joiner copies each datagram once, out of the buffer.
        """
        cdef const unsigned char *data = <const unsigned char *> self._vectors[place].iov_base
        cdef size_t at = 0
        cdef size_t size, origin_size
        cdef const unsigned char *begin
        cdef unsigned char origin[IPV6_SIZE + HEADER_MAX]
        cdef int address_size = pack(&self._addresses[place], origin)
        if segment == 0:
            segment = length if length else 1
        while True:
            size = min(segment, length - at)
            if size > self._header_size + self._size:
                self.oversized += 1
            elif size <= self._header_size:
                self.undersized += 1
            else:
                memcpy(origin + address_size, data + at, self._header_size)
                origin_size = address_size + self._header_size
                if self._skip is not None and _same(self._skip, origin, origin_size):
                    self.skipped += 1
                else:
                    # Datagrams of one sender come in runs: most have the same origin as the one before.
                    if not _same(self._origin, origin, origin_size):
                        self._origin = PyBytes_FromStringAndSize(<char *> origin, origin_size)
                        self._looked_up = False
                    if not self._looked_up:
                        self._welcome = self._origin in known
                        self._looked_up = True
                    if not self._welcome:
                        begin = data + at + self._header_size
                        self._welcome = introduce(
                            self._origin, PyBytes_FromStringAndSize(<char *> begin, min(size - self._header_size, <size_t> HEAD_MAX))
                        )
                    if self._welcome:
                        self.last_origin = self._origin
                        joiner.take(self._origin, data + at + self._header_size, size - self._header_size, whole)
            at += segment
            if at >= length:
                return 0


cdef size_t _segment_size(msghdr *message) noexcept:
    """Return the size of the datagrams from which a message was coalesced, 0 if it is one datagram."""
    cdef cmsghdr *control = CMSG_FIRSTHDR(message)
    cdef int size
    while control != NULL:
        if control.cmsg_level == SOL_UDP and control.cmsg_type == UDP_GRO:
            memcpy(&size, CMSG_DATA(control), sizeof(size))
            return size if size > 0 else 0
        control = CMSG_NXTHDR(message, control)
    return 0


cdef inline bint _same(bytes known, const unsigned char *data, size_t size) noexcept:
    """Return whether ``known`` consists of exactly these bytes."""
    return <size_t> PyBytes_GET_SIZE(known) == size and memcmp(PyBytes_AS_STRING(known), data, size) == 0


cdef struct Extent:
    size_t start
    size_t size
    size_t padding


cdef int find_extent(bytes head, Py_ssize_t length, Extent *extent) except -1:
    """Find which piece of a datagram follows a header; see ``_segments.extent``."""
    cdef const unsigned char *fields = <const unsigned char *> PyBytes_AS_STRING(head)
    cdef Py_ssize_t place, count, size, start, lacks
    cdef Py_ssize_t padding = 0
    if PyBytes_GET_SIZE(head) == 0:
        extent.start, extent.size, extent.padding = 0, length, 0
        return 0
    if PyBytes_GET_SIZE(head) != HEAD_SIZE:
        raise ValueError(f"the header of a segment has {HEAD_SIZE} bytes, not {PyBytes_GET_SIZE(head)}")
    place, count, size = fields[1], fields[2], fields[6] << 8 | fields[7]
    if place < count - 1:
        start = place * size
    else:
        start = length - size
        lacks = start // (count - 1) - size if count > 1 else 0
        if 0 < lacks <= PADDING_MAX:
            padding = lacks
    if start < 0 or start + size > length:
        raise ValueError(f"no segment of a datagram of {length} bytes begins with {head.hex()}")
    extent.start, extent.size, extent.padding = start, size, padding
    return 0


cdef class SocketWriter:
    """Writes to one non-blocking socket; see ``_plain.SocketWriter``."""

    cdef object _socket
    cdef mmsghdr *_messages
    cdef iovec *_vectors
    cdef sockaddr_storage *_addresses
    cdef unsigned char *_controls
    cdef unsigned char *_fronts
    cdef size_t *_sizes
    cdef int *_runs
    cdef int _count
    cdef size_t _header_size
    cdef readonly bint segments
    cdef public bint keeps_gil
    cdef public int refused
    cdef readonly dict plain
    cdef readonly long long datagrams_sent
    cdef readonly long long bytes_sent

    def __cinit__(self, sock, int count, bytes header not None=b"", bint segment=False):
        cdef int place
        cdef cmsghdr *control
        if not 1 <= count <= COUNT_MAX or len(header) > HEADER_MAX:
            raise ValueError(
                f"count must be 1 to {COUNT_MAX} and the header 0 to {HEADER_MAX} bytes, not {count} and {len(header)}"
            )
        self._socket = sock
        self._count = count
        self._header_size = len(header)
        self.segments = segment
        self.plain = {}
        self._messages = <mmsghdr *> calloc(count, sizeof(mmsghdr))
        self._vectors = <iovec *> calloc(count * PARTS_MAX, sizeof(iovec))
        self._addresses = <sockaddr_storage *> calloc(count, sizeof(sockaddr_storage))
        self._controls = <unsigned char *> calloc(count, CONTROL_SIZE)
        self._fronts = <unsigned char *> calloc(count, self._header_size + HEAD_SIZE)
        self._sizes = <size_t *> calloc(count, sizeof(size_t))
        self._runs = <int *> calloc(count, sizeof(int))
        if (
            self._messages == NULL
            or self._vectors == NULL
            or self._addresses == NULL
            or self._controls == NULL
            or self._fronts == NULL
            or self._sizes == NULL
            or self._runs == NULL
        ):
            raise MemoryError
        for place in range(count):
            memcpy(self._front(place), PyBytes_AS_STRING(header), self._header_size)
            control = <cmsghdr *> (self._controls + place * CONTROL_SIZE)
            control.cmsg_level = SOL_UDP
            control.cmsg_type = UDP_SEGMENT
            control.cmsg_len = CMSG_LEN(sizeof(uint16_t))
            self._messages[place].msg_hdr.msg_name = &self._addresses[place]

    def __dealloc__(self):
        free(self._messages)
        free(self._vectors)
        free(self._addresses)
        free(self._controls)
        free(self._fronts)
        free(self._sizes)
        free(self._runs)

    cdef inline unsigned char *_front(self, int place) noexcept:
        """Return the memory before a datagram or a piece: the transport's header, and space for the header of a
        segment."""
        return self._fronts + place * (self._header_size + HEAD_SIZE)

    def send(self, list addresses not None, list heads not None, list datagrams not None, Py_ssize_t start):
        """Send from index ``start`` on; see ``_plain.SocketWriter.send``."""
        cdef int fd = self._socket.fileno()
        cdef int sent, error, place, count, messages
        cdef int taken = 0
        cdef Py_ssize_t left = len(datagrams) - start
        if start < 0 or len(addresses) != len(datagrams) or len(heads) != len(datagrams):
            raise ValueError("start must not be negative, and the lists must have one length")
        if left <= 0:
            return 0
        count = <int> left if left < self._count else self._count
        messages = self._lay_out(addresses, heads, datagrams, start, count)
        if self.keeps_gil and messages <= KEPT_MAX:
            sent = sendmmsg(fd, self._messages, messages, MSG_DONTWAIT | MSG_NOSIGNAL)
            error = errno
        else:
            with nogil:
                sent = sendmmsg(fd, self._messages, messages, MSG_DONTWAIT | MSG_NOSIGNAL)
                error = errno
        if sent < 0 and self._runs[0] > 1 and (error == EMSGSIZE or error == EINVAL or error == EIO):
            # This kernel or the path to this address does not support runs, or not of this size. From now on its
            # datagrams go one by one.
            if len(self.plain) >= PLAIN_MAX:
                self.plain.clear()
            self.plain[addresses[start]] = error
            self.refused = error
        if sent < 0:
            return -error
        for place in range(sent):
            taken += self._runs[place]
        self.datagrams_sent += taken
        for place in range(taken):
            self.bytes_sent += self._sizes[place]
        return taken

    cdef int _lay_out(self, list addresses, list heads, list datagrams, Py_ssize_t start, int count) except -1:
        """Make messages of ``count`` datagrams and segments, and return the number of messages. Only fronts are
        copied."""
        cdef int place = 0
        cdef int messages = 0
        cdef int run
        cdef bint alone
        cdef size_t room, size, longest
        cdef Extent extent
        cdef iovec *vector = self._vectors
        cdef msghdr *message
        cdef socklen_t address_size
        cdef uint16_t *segment
        while place < count:
            address = <bytes?> addresses[start + place]
            message = &self._messages[messages].msg_hdr
            address_size = unpack(
                <const unsigned char *> PyBytes_AS_STRING(address), PyBytes_GET_SIZE(address), &self._addresses[messages]
            )
            if address_size == 0:
                raise ValueError(
                    f"a packed address has {IPV4_SIZE} or {IPV6_SIZE} bytes, not {PyBytes_GET_SIZE(address)}"
                )
            message.msg_namelen = address_size
            message.msg_iov = vector
            run = 0
            longest = 0
            room = RUN_BYTES_MAX
            alone = not self.segments or (len(self.plain) > 0 and address in self.plain)
            while place + run < count:
                head = <bytes?> heads[start + place + run]
                datagram = <bytes?> datagrams[start + place + run]
                find_extent(head, PyBytes_GET_SIZE(datagram), &extent)
                size = PyBytes_GET_SIZE(head) + extent.size + extent.padding
                if run:
                    if alone or run == SEGMENTS_MAX or size > longest or size + self._header_size > room:
                        break
                    following = <bytes?> addresses[start + place + run]
                    if following is not address and following != address:
                        break
                else:
                    longest = size
                vector = self._lay_out_one(place + run, vector, head, PyBytes_AS_STRING(datagram), &extent)
                self._sizes[place + run] = size
                run += 1
                if size < longest or size + self._header_size > room:
                    break
                room -= size + self._header_size
            message.msg_iovlen = vector - message.msg_iov
            message.msg_control = NULL
            message.msg_controllen = 0
            if run > 1:
                message.msg_control = self._controls + messages * CONTROL_SIZE
                message.msg_controllen = CMSG_SPACE(sizeof(uint16_t))
                segment = <uint16_t *> CMSG_DATA(<cmsghdr *> message.msg_control)
                segment[0] = <uint16_t> (longest + self._header_size)
            self._runs[messages] = run
            messages += 1
            place += run
        return messages

    cdef iovec *_lay_out_one(self, int place, iovec *vector, bytes head, char *datagram, Extent *extent) noexcept:
        """Fill in the parts of one datagram or segment from ``vector`` on, and return the place for the next."""
        cdef size_t head_size = PyBytes_GET_SIZE(head)
        cdef unsigned char *front
        if self._header_size + head_size:
            front = self._front(place)
            memcpy(front + self._header_size, PyBytes_AS_STRING(head), head_size)
            vector.iov_base = front
            vector.iov_len = self._header_size + head_size
            vector += 1
        vector.iov_base = datagram + extent.start
        vector.iov_len = extent.size
        vector += 1
        if extent.padding:
            vector.iov_base = zeros
            vector.iov_len = extent.padding
            vector += 1
        return vector
