#pragma once
#include <libpq-fe.h>

// PG_DIAG_SQLSTATE is a character, which Swift does not import as a number.
static inline const char *proxy_gpt_pq_sqlstate(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_SQLSTATE);
}
static inline const char *proxy_gpt_pq_message(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
}
