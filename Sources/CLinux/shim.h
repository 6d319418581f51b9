#pragma once
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// accept4 is declared under _GNU_SOURCE only, with which this module's view of the C library would
// differ from Swift's own.
extern int accept4(int, struct sockaddr *, socklen_t *, int);
static inline int proxy_gpt_accept(int listener) {
    return accept4(listener, (struct sockaddr *)0, (socklen_t *)0, SOCK_CLOEXEC);
}

// The CMSG macros do not reach Swift: one descriptor with a few bytes of payload (unix(7), SCM_RIGHTS).
static inline ssize_t proxy_gpt_send_descriptor(
    int socket, const struct sockaddr_un *address, const void *payload, size_t length,
    int descriptor) {
    struct iovec part = {.iov_base = (void *)payload, .iov_len = length};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {
        .msg_name = (void *)address,
        .msg_namelen = sizeof *address,
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Receives what proxy_gpt_send_descriptor sent; *descriptor is -1 when none came along.
static inline ssize_t proxy_gpt_receive_descriptor(
    int socket, void *payload, size_t length, int *descriptor) {
    struct iovec part = {.iov_base = payload, .iov_len = length};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    *descriptor = -1;
    ssize_t received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0) return received;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            memcpy(descriptor, CMSG_DATA(header), sizeof(int));
        }
    }
    return received;
}

// pthread_setname_np needs _GNU_SOURCE; prctl is variadic.
#include <sys/prctl.h>
static inline void proxy_gpt_name_thread(const char *name) {
    prctl(PR_SET_NAME, name, 0, 0, 0);
}
