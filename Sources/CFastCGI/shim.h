#pragma once
// fcgiapp.h uses va_list without including its header.
#include <stdarg.h>
#include <fcgiapp.h>

// Whether a reader holds enough of what it has read ahead to go on without reading the connection:
// content of the current record, or, behind its padding, a whole header of the next. libfcgi does
// not tell, and without knowing one would wait for a descriptor whose bytes are already here. These
// are the first members of its private FCGX_Stream_Data, the same in every release of 2.4
// (fcgiapp.c); FastCGITests notices if they ever move.
static inline int proxy_gpt_fcgi_has_buffered_input(const FCGX_Stream *stream) {
    const struct {
        unsigned char *first;
        int capacity;
        unsigned char *allocated;
        unsigned char *end;
        int type;
        int stops_at_record;
        int skips;
        int content;
        int padding;
    } *data = stream->data;
    const long buffered = data->end - stream->rdNext;
    if (data->content > 0) return buffered > 0;
    return buffered - data->padding >= 8;
}
