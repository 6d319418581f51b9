#pragma once
// fcgiapp.h uses va_list without including its header.
#include <stdarg.h>
#include <fcgiapp.h>

// What a reader has read ahead of what it delivered, and what it takes that for. libfcgi does not
// tell, and it must not be asked to go on before its next record is known: it would wait for a
// descriptor whose bytes are already here, or answer a record that ends the process. These are the
// first members of its private FCGX_Stream_Data, the same in every release of 2.4 (fcgiapp.c);
// FastCGITests notices if they ever move.
struct proxy_gpt_fcgi_input {
    const unsigned char *next;
    long buffered;
    // Of the current record: content that is still to come, and the padding behind it.
    long content;
    long padding;
};

static inline struct proxy_gpt_fcgi_input proxy_gpt_fcgi_input(const FCGX_Stream *stream) {
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
    return (struct proxy_gpt_fcgi_input){
        stream->rdNext, data->end - stream->rdNext, data->content, data->padding};
}
