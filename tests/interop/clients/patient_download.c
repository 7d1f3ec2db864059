/* Preloaded into coap-client: a library that has libcoap keep a download as long as it takes.
 *
 * libcoap 4.3 forgets a download MAX_TRANSMIT_WAIT after its first block, or after the newest that came twice, however
 * well it goes on. That time follows from the parameters of the session (RFC 7252 section 4.8.2), which its API sets and
 * coap-client has no option for. With MAX_RETRANSMIT 12 it is 24,573 s, which overflows libcoap's arithmetic of 32 bits
 * so that after the first block it never comes. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

enum { MAX_RETRANSMIT = 12 };

typedef void *make_session(void *, const void *, const void *, int, void *);
typedef void set_number(void *, uint16_t);

void *coap_new_client_session_psk2(void *context, const void *local, const void *server, int protocol, void *setup) {
    make_session *make = (make_session *) dlsym(RTLD_NEXT, "coap_new_client_session_psk2");
    set_number *set = (set_number *) dlsym(RTLD_NEXT, "coap_session_set_max_retransmit");
    void *session = make(context, local, server, protocol, setup);
    if (session)
        set(session, MAX_RETRANSMIT);
    return session;
}
