/* Mbed TLS 3 as a driven client (see tests/interop/driven.py). It is the one that has connection ids (RFC 9146).
 *
 * Arguments: port=N, and identity=TEXT key=HEX, or chain=FILE private_key=FILE root=FILE.
 * And: suite=NAME (its own), cid=HEX (the id that it wants to receive, perhaps empty), fragment=CODE (of
 * max_fragment_length, 1-4), tickets=no, ems=no. */

#include "client.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/timing.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <psa/crypto.h>

#if MBEDTLS_VERSION_NUMBER < 0x03000000 || !defined(MBEDTLS_SSL_DTLS_CONNECTION_ID)
#error "Mbed TLS 3 with MBEDTLS_SSL_DTLS_CONNECTION_ID is needed"
#endif

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context drbg;
static mbedtls_ssl_config config;
static mbedtls_ssl_context ssl;
static mbedtls_ssl_session session;
static mbedtls_timing_delay_context timer;
static mbedtls_x509_crt own, root;
static mbedtls_pk_context private_key;
static int suites[2];
static unsigned char master[48], master_before[48];

static int send_datagram(void *context, const unsigned char *data, size_t length) {
    (void) context;
    return (int) send(udp, data, length, 0);
}

static int receive_datagram(void *context, unsigned char *data, size_t capacity, uint32_t milliseconds) {
    (void) context;
    if (!readable(milliseconds ? (int) milliseconds : 5000))
        return MBEDTLS_ERR_SSL_TIMEOUT;
    return (int) recv(udp, data, capacity, 0);
}

static void exported(void *context, mbedtls_ssl_key_export_type type, const unsigned char *secret, size_t length,
                     const unsigned char client_random[32], const unsigned char server_random[32],
                     mbedtls_tls_prf_types prf) {
    (void) context, (void) client_random, (void) server_random, (void) prf;
    if (type == MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET && length == sizeof master)
        memcpy(master, secret, length);
}

static void check(const char *what, int code) {
    if (code)
        fail(what, code);
}

static void configure(void) {
    const char *value;
    unsigned char key[64];
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&drbg);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_session_init(&session);
    check("psa", psa_crypto_init());
    check("seed", mbedtls_ctr_drbg_seed(&drbg, mbedtls_entropy_func, &entropy, NULL, 0));
    check("defaults", mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_DATAGRAM,
                                                  MBEDTLS_SSL_PRESET_DEFAULT));
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &drbg);
    mbedtls_ssl_conf_read_timeout(&config, 5000);
    if ((value = argument("suite"))) {
        suites[0] = mbedtls_ssl_get_ciphersuite_id(value);
        mbedtls_ssl_conf_ciphersuites(&config, suites);
    }
    if ((value = argument("identity"))) {
        size_t length = from_hex(argument("key"), key, sizeof key);
        check("psk", mbedtls_ssl_conf_psk(&config, key, length, (const unsigned char *) value, strlen(value)));
        mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_NONE);
    } else {
        mbedtls_x509_crt_init(&own);
        mbedtls_x509_crt_init(&root);
        mbedtls_pk_init(&private_key);
        check("chain", mbedtls_x509_crt_parse_file(&own, argument("chain")));
        check("root", mbedtls_x509_crt_parse_file(&root, argument("root")));
        check("key", mbedtls_pk_parse_keyfile(&private_key, argument("private_key"), NULL, mbedtls_ctr_drbg_random, &drbg));
        check("own", mbedtls_ssl_conf_own_cert(&config, &own, &private_key));
        mbedtls_ssl_conf_ca_chain(&config, &root, NULL);
        mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
    }
    if ((value = argument("cid")))
        check("cid", mbedtls_ssl_conf_cid(&config, strlen(value) / 2, MBEDTLS_SSL_UNEXPECTED_CID_IGNORE));
    if ((value = argument("fragment")))
        check("fragment", mbedtls_ssl_conf_max_frag_len(&config, (unsigned char) atoi(value)));
    if (argument("tickets"))
        mbedtls_ssl_conf_session_tickets(&config, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
    if (argument("ems"))
        mbedtls_ssl_conf_extended_master_secret(&config, MBEDTLS_SSL_EXTENDED_MS_DISABLED);
}

static void handshake(int offer_session) {
    const char *value = argument("cid");
    unsigned char id[MBEDTLS_SSL_CID_OUT_LEN_MAX];
    size_t length = 0;
    int used = 0;
    memcpy(master_before, master, sizeof master);
    mbedtls_ssl_init(&ssl);
    check("setup", mbedtls_ssl_setup(&ssl, &config));
    check("host name", mbedtls_ssl_set_hostname(&ssl, "localhost"));
    if (value)
        check("cid", mbedtls_ssl_set_cid(&ssl, MBEDTLS_SSL_CID_ENABLED, id, from_hex(value, id, sizeof id)));
    if (offer_session)
        check("session", mbedtls_ssl_set_session(&ssl, &session));
    mbedtls_ssl_set_bio(&ssl, NULL, send_datagram, NULL, receive_datagram);
    mbedtls_ssl_set_timer_cb(&ssl, &timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
    mbedtls_ssl_set_export_keys_cb(&ssl, exported, NULL);
    int code;
    do
        code = mbedtls_ssl_handshake(&ssl);
    while (code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_WANT_WRITE);
    check("handshake", code);
    if (value)
        check("peer's cid", mbedtls_ssl_get_peer_cid(&ssl, &used, id, &length));
    printf("connected suite=%s resumed=%s out=%d in=%d cid=", mbedtls_ssl_get_ciphersuite(&ssl),
           memcmp(master, master_before, sizeof master) ? "no" : "yes", mbedtls_ssl_get_max_out_record_payload(&ssl),
           mbedtls_ssl_get_max_in_record_payload(&ssl));
    if (used)
        print_hex(id, length);
    else
        printf("none");
    printf("\n");
}

static size_t exchange(const unsigned char *data, size_t length, unsigned char *answer, size_t capacity) {
    int code = mbedtls_ssl_write(&ssl, data, length);
    if (code != (int) length)
        fail("write", code);
    do
        code = mbedtls_ssl_read(&ssl, answer, capacity);
    while (code == MBEDTLS_ERR_SSL_WANT_READ);
    if (code <= 0)
        fail("read", code);
    return (size_t) code;
}

static void keep_session(void) {
    check("session", mbedtls_ssl_get_session(&ssl, &session));
}

static void end_session(int politely) {
    if (politely)
        check("goodbye", mbedtls_ssl_close_notify(&ssl));
    mbedtls_ssl_free(&ssl);
}

int main(int count, char **values) {
    arguments_count = count;
    arguments = values;
    configure();
    run(count, values);
    return 0;
}
