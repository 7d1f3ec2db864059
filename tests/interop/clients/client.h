/* What the C clients have in common: arguments, hexadecimal, a UDP socket, and the loop over the commands that
 * tests/interop/driven.py describes. Each client supplies the four functions at the end. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_DATA = 2048, MAX_LINE = 2 * MAX_DATA + 64 };

static int arguments_count;
static char **arguments;
static int udp = -1;
static struct sockaddr_in server;

static void fail(const char *what, long code) {
    fprintf(stderr, "%s: %ld (-0x%lx)\n", what, code, -code);
    exit(1);
}

/* The value of an argument NAME=VALUE; NULL without it. */
static const char *argument(const char *name) {
    size_t length = strlen(name);
    for (int i = 1; i < arguments_count; i++)
        if (!strncmp(arguments[i], name, length) && arguments[i][length] == '=')
            return arguments[i] + length + 1;
    return NULL;
}

static size_t from_hex(const char *text, unsigned char *data, size_t capacity) {
    size_t length = 0;
    unsigned int byte;
    for (; text[0] && text[1] && sscanf(text, "%2x", &byte) == 1; text += 2) {
        if (length == capacity)
            fail("too long", (long) capacity);
        data[length++] = (unsigned char) byte;
    }
    return length;
}

static void print_hex(const unsigned char *data, size_t length) {
    for (size_t i = 0; i < length; i++)
        printf("%02x", data[i]);
}

/* A socket on a port of the system's choice. One that was open before is closed afterwards: the port is another one. */
static void open_socket(void) {
    int before = udp;
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    if (udp < 0 || connect(udp, (struct sockaddr *) &server, sizeof server))
        fail("socket", udp);
    if (before >= 0)
        close(before);
}

/* Whether a datagram comes within the time. */
static int readable(int milliseconds) {
    struct pollfd waiting = {.fd = udp, .events = POLLIN};
    return poll(&waiting, 1, milliseconds) > 0;
}

/* A handshake in a new session context, on the socket that is open; prints the line of `connected`. */
static void handshake(int offer_session);
/* Sends data, waits for a record, and gives its length. */
static size_t exchange(const unsigned char *data, size_t length, unsigned char *answer, size_t capacity);
/* Keeps the session for a later handshake. */
static void keep_session(void);
/* close_notify, if `politely`; then the context is freed. */
static void end_session(int politely);

static void run(int count, char **values) {
    char line[MAX_LINE];
    unsigned char data[MAX_DATA], answer[MAX_DATA];
    arguments_count = count;
    arguments = values;
    server.sin_family = AF_INET;
    server.sin_port = htons((unsigned short) atoi(argument("port")));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    open_socket();
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!strcmp(line, "connect")) {
            handshake(0);
        } else if (!strcmp(line, "again")) {
            end_session(0);
            handshake(0);
        } else if (!strcmp(line, "resume")) {
            keep_session();
            end_session(1);
            open_socket();
            handshake(1);
        } else if (!strcmp(line, "move")) {
            open_socket();
            printf("moved\n");
        } else if (!strncmp(line, "exchange ", 9)) {
            size_t length = exchange(data, from_hex(line + 9, data, sizeof data), answer, sizeof answer);
            printf("data ");
            print_hex(answer, length);
            printf("\n");
        } else {
            fail(line, 0);
        }
    }
    end_session(1);
}
