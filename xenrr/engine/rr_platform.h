/* Everything the loop has to know about the system it is built on.
 *
 * This is the only file that asks which system that is; the others use the names below.
 * It has to be included before any system header.
 */
#ifndef RR_PLATFORM_H
#define RR_PLATFORM_H

#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
/* Files of more than 2 GiB where a long has 32 bits. */
#if !defined(_FILE_OFFSET_BITS)
#define _FILE_OFFSET_BITS 64
#endif
/* MSG_DONTWAIT became POSIX in 2024 only; the BSDs hide it from older programs. */
#if defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE 1
#endif
#if defined(__FreeBSD__) || defined(__DragonFly__) || defined(__OpenBSD__)
#define __BSD_VISIBLE 1
#endif
#if defined(__NetBSD__) && !defined(_NETBSD_SOURCE)
#define _NETBSD_SOURCE 1
#endif

/* accept4, and syscall(): the C library may not know close_range yet. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

#include <sys/types.h>
#include <sys/socket.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <linux/version.h>
#endif

/* Linux 5.9: closes a range, and gives the calling thread a table of its own for it. */
#if defined(SYS_close_range)
#define RR_HAVE_CLOSE_RANGE 1
#define RR_CLOSE_RANGE_UNSHARE 2u
#endif

/* Where threads can be cancelled, the C library's send() and recv() pay for it with two locked
 * instructions each in a process of several threads. Nobody cancels these: call the kernel.
 * Elsewhere than on 64 bits the system call may have another name. */
#if defined(__linux__) && defined(__LP64__) && defined(SYS_recvfrom)                   \
    && defined(SYS_sendto)
#define RR_HAVE_BARE_CALLS 1
#endif

/* A timer whose signal goes to one thread. timer_create() was in a library of its own up to
 * glibc 2.33, and older headers lack the name of the thread's field. */
#if defined(__linux__) && defined(__LP64__) && defined(SYS_timer_create)
#include <signal.h>
#if defined(__GLIBC__) && !defined(sigev_notify_thread_id)
#define sigev_notify_thread_id _sigev_un._tid
#endif
#if defined(SIGEV_THREAD_ID) && defined(sigev_notify_thread_id)
#define RR_HAVE_BELL 1
/* The last but one: nobody counts from that end. */
#define RR_BELL_SIGNAL (SIGRTMAX - 1)
#endif
#endif

/* glibc 2.35 and later: what the kernel keeps up to date for a thread that was registered. */
#if defined(__linux__) && defined(SYS_rseq) && defined(__has_include)                  \
    && defined(__has_builtin)
#if __has_include(<sys/rseq.h>) && __has_builtin(__builtin_thread_pointer)
#include <sys/rseq.h>
#if defined(RSEQ_SIG)
#define RR_HAVE_RSEQ 1
#endif
#endif
#endif

/* A peer that went away must not kill the process: either each send says so, or the
 * socket does (RR_NOSIGPIPE_OPTION). */
#if defined(MSG_NOSIGNAL)
#define RR_WAIT_FLAGS MSG_NOSIGNAL
#else
#define RR_WAIT_FLAGS 0
#endif
#define RR_SEND_FLAGS (RR_WAIT_FLAGS | MSG_DONTWAIT)
#if defined(SO_NOSIGPIPE)
#define RR_NOSIGPIPE_OPTION SO_NOSIGPIPE
#endif

/* Connections must not live on in a program that another thread starts meanwhile: then
 * the peer would never see their end. */
#if defined(SOCK_CLOEXEC)
#define RR_HAVE_ACCEPT4 1
#define RR_STREAM_SOCKET (SOCK_STREAM | SOCK_CLOEXEC)
#else
#define RR_STREAM_SOCKET SOCK_STREAM
#endif

#if defined(__linux__)
/* The others have calls of this name that take other arguments. */
#define RR_HAVE_SENDFILE 1
/* tcp(7): with this flag a receive drops the data and copies nothing; udp(7): it gives
 * the whole size of a datagram, so that there may be no buffer at all. */
#define RR_DISCARD_FLAG MSG_TRUNC
/* The kernel stamps packets: Documentation/networking/timestamping.rst. */
#if defined(SO_TIMESTAMPING) && defined(MSG_ERRQUEUE)
#define RR_HAVE_TIMESTAMPS 1
#endif
/* tcp(7): what TCP counts on a connection, as a struct tcp_info. */
#define RR_HAVE_TCP_INFO 1
#endif

/* Ways to wait for many connections, and to take many datagrams at once. */
#if defined(__linux__)
#define RR_HAVE_EPOLL 1
#define RR_HAVE_PPOLL 1
#define RR_HAVE_MMSG 1
#define RR_HAVE_TIMERSLACK 1
/* Linux 5.11. */
#if defined(SYS_epoll_pwait2)
#define RR_HAVE_EPOLL_PWAIT2 1
#endif
/* What we use of it is complete in the headers of Linux 6.1; whether the kernel has it is
 * found out when it runs. Both sides read and write the rings at the same time. */
#if defined(SYS_io_uring_setup) && LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0)       \
    && (defined(__GNUC__) || defined(__clang__))
#define RR_HAVE_IO_URING 1
#define RR_LOAD_ACQUIRE(from) __atomic_load_n((from), __ATOMIC_ACQUIRE)
#define RR_STORE_RELEASE(to, value) __atomic_store_n((to), (value), __ATOMIC_RELEASE)
#endif
#else
/* As in Linux, for one datagram at a time. */
struct mmsghdr {
    struct msghdr msg_hdr;
    unsigned int msg_len;
};
#endif

#if defined(__GNUC__) || defined(__clang__)
#define RR_HAVE_CLZLL 1
#define RR_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
/* One body becomes several functions, of which none asks what the others do. */
#define RR_TWICE inline __attribute__((always_inline))
#else
#define RR_UNLIKELY(condition) (condition)
#define RR_TWICE inline
#endif

/* What the shared object shows to ctypes; all else may stay hidden. */
#if defined(__GNUC__) || defined(__clang__)
#define RR_EXPORT __attribute__((visibility("default")))
#else
#define RR_EXPORT
#endif

#endif
