#pragma once
// fcgiapp.h uses va_list without including its header.
#include <stdarg.h>
#include <fcgiapp.h>

// Whether a reader holds bytes of the connection that it has not looked at yet. libfcgi reads
// ahead, and does not tell: without knowing, one would wait for a descriptor whose bytes are
// already here. These are the first members of its private FCGX_Stream_Data, the same in every
// release of 2.4 (fcgiapp.c); FastCGITests notices if they ever move.
static inline int proxy_gpt_fcgi_has_buffered_input(const FCGX_Stream *stream) {
    const struct {
        unsigned char *first;
        int capacity;
        unsigned char *allocated;
        unsigned char *end;
    } *data = stream->data;
    return stream->rdNext < data->end;
}
