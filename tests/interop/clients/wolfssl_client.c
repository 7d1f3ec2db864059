/* wolfSSL as a driven client (see tests/interop/driven.py). It sends neither renegotiation_info nor its SCSV, and has
 * no x25519 among its groups by default.
 *
 * Arguments: port=N, and identity=TEXT key=HEX, or chain=FILE private_key=FILE root=FILE, or raw_key=FILE
 * private_key=FILE (RFC 7250; the server's key is then accepted whatever it is).
 * And: suite=NAMES (its own, colon-separated), fragment=CODE (of max_fragment_length, 1-4), tickets=yes.
 * With list=yes alone: prints its suites and exits. */

#include "client.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

/* It gives up a call when a datagram was not what it waited for. */
enum { MAX_TRIES = 5 };

static WOLFSSL_CTX *context;
static WOLFSSL *ssl;
static WOLFSSL_SESSION *session;
static int established;

static int send_datagram(WOLFSSL *from, char *data, int length, void *unused) {
    (void) from, (void) unused;
    return (int) send(udp, data, (size_t) length, 0);
}

static int receive_datagram(WOLFSSL *from, char *data, int capacity, void *unused) {
    (void) unused;
    if (!readable(established ? 5000 : 1000 * wolfSSL_dtls_get_current_timeout(from)))
        return WOLFSSL_CBIO_ERR_TIMEOUT;
    return (int) recv(udp, data, (size_t) capacity, 0);
}

static unsigned int give_key(WOLFSSL *from, const char *hint, char *identity, unsigned int identity_capacity,
                             unsigned char *key, unsigned int key_capacity) {
    (void) from, (void) hint;
    strncpy(identity, argument("identity"), identity_capacity);
    return (unsigned int) from_hex(argument("key"), key, key_capacity);
}

static void check(const char *what, int code) {
    if (code != WOLFSSL_SUCCESS)
        fail(what, code);
}

static void be_certified(void) {
    check("key", wolfSSL_CTX_use_PrivateKey_file(context, argument("private_key"), WOLFSSL_FILETYPE_PEM));
    if (!argument("raw_key")) {
        check("chain", wolfSSL_CTX_use_certificate_chain_file(context, argument("chain")));
        check("root", wolfSSL_CTX_load_verify_locations(context, argument("root"), NULL));
        wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER, NULL);
        return;
    }
#ifdef HAVE_RPK
    const char raw = WOLFSSL_CERT_TYPE_RPK;
    check("raw key", wolfSSL_CTX_use_certificate_file(context, argument("raw_key"), WOLFSSL_FILETYPE_ASN1));
    check("client type", wolfSSL_CTX_set_client_cert_type(context, &raw, 1));
    check("server type", wolfSSL_CTX_set_server_cert_type(context, &raw, 1));
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, NULL);
#else
    fail("this wolfSSL has no raw public keys", 0);
#endif
}

static void configure(void) {
    const char *value;
    wolfSSL_Init();
    context = wolfSSL_CTX_new(wolfDTLSv1_2_client_method());
    if (!context)
        fail("context", 0);
    if ((value = argument("suite")))
        check(value, wolfSSL_CTX_set_cipher_list(context, value));
    if (argument("identity"))
        wolfSSL_CTX_set_psk_client_callback(context, give_key);
    else
        be_certified();
    wolfSSL_CTX_SetIOSend(context, send_datagram);
    wolfSSL_CTX_SetIORecv(context, receive_datagram);
}

static void handshake(int offer_session) {
    const char *value;
    established = 0;
    ssl = wolfSSL_new(context);
    if (!ssl)
        fail("session", 0);
    if ((value = argument("fragment")))
        check("fragment", wolfSSL_UseMaxFragment(ssl, (unsigned char) atoi(value)));
    if (argument("tickets"))
        check("tickets", wolfSSL_UseSessionTicket(ssl));
    if (argument("chain")) {
        check("server name", wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, "localhost", 9));
        check("host name", wolfSSL_check_domain_name(ssl, "localhost"));
    }
    if (offer_session)
        check("session", wolfSSL_set_session(ssl, session));
    int code, tries = 0;
    do
        code = wolfSSL_connect(ssl);
    while (code != WOLFSSL_SUCCESS && wolfSSL_get_error(ssl, code) == WOLFSSL_ERROR_WANT_READ && tries++ < MAX_TRIES);
    if (code != WOLFSSL_SUCCESS)
        fail("handshake", wolfSSL_get_error(ssl, code));
    established = 1;
    printf("connected suite=%s resumed=%s\n", wolfSSL_get_cipher_name(ssl), wolfSSL_session_reused(ssl) ? "yes" : "no");
}

static size_t exchange(const unsigned char *data, size_t length, unsigned char *answer, size_t capacity) {
    if (wolfSSL_write(ssl, data, (int) length) != (int) length)
        fail("write", wolfSSL_get_error(ssl, 0));
    int received, tries = 0;
    do
        received = wolfSSL_read(ssl, answer, (int) capacity);
    while (received <= 0 && wolfSSL_get_error(ssl, received) == WOLFSSL_ERROR_WANT_READ && tries++ < MAX_TRIES);
    if (received <= 0)
        fail("read", wolfSSL_get_error(ssl, received));
    return (size_t) received;
}

static void keep_session(void) {
    session = wolfSSL_get1_session(ssl);
    if (!session)
        fail("keep", 0);
}

static void end_session(int politely) {
    if (politely)
        wolfSSL_shutdown(ssl);
    wolfSSL_free(ssl);
}

int main(int count, char **values) {
    char names[4096];
    arguments_count = count;
    arguments = values;
    if (argument("list")) {
        wolfSSL_Init();
        if (wolfSSL_get_ciphers(names, sizeof names) == WOLFSSL_SUCCESS)
            printf("%s\n", names);
        return 0;
    }
    configure();
    run(count, values);
    return 0;
}
