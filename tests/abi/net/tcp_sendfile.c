// sendfile(2) from a file to a TCP connection.
#include "tcp.h"
#include <sys/sendfile.h>

#define SIZE 1500001
static unsigned char *bytes, *received;

struct reader {
    int fd;
    size_t length;
};

static void *read_all(void *argument) {
    struct reader *reader = argument;
    ssize_t now;
    while (reader->length < SIZE + 1 && (now = read(reader->fd, received + reader->length, SIZE + 1 - reader->length)) > 0)
        reader->length += (size_t)now;
    return NULL;
}

int main(void) {
    check_enter_scratch();
    bytes = malloc(SIZE + 1);
    received = malloc(SIZE + 1);
    REQUIRE(bytes && received);
    tcp_fill(bytes, SIZE, 3);
    int file = open("file", O_RDWR | O_CREAT, 0600);
    REQUIRE(file >= 0 && write(file, bytes, SIZE) == SIZE);
    int pair[2];
    tcp_pair(pair);
    char text[64] = "";
    off_t offset = 10;
    CALL("a few bytes from an offset", sendfile(pair[0], file, &offset, 20));
    VALUE("the offset moved", offset);
    VALUE("the file's own did not", lseek(file, 0, SEEK_CUR));
    CALL("they come", recv(pair[1], text, 20, MSG_WAITALL));
    IS("as they were", memcmp(text, bytes + 10, 20) == 0);
    CALL("at the end of the file", sendfile(pair[0], file, NULL, 10));
    lseek(file, SIZE - 5, SEEK_SET);
    CALL("more than there is", sendfile(pair[0], file, NULL, 100));
    // At once, though more was expected.
    CALL("comes without delay", recv(pair[1], text, 5, MSG_WAITALL));
    IS("as it was", memcmp(text, bytes + SIZE - 5, 5) == 0);
    VALUE("the file's own offset moved", lseek(file, 0, SEEK_CUR));
    lseek(file, 0, SEEK_SET);
    struct reader reader = {.fd = pair[1]};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, read_all, &reader) == 0);
    size_t sent = 0;
    while (sent < SIZE) {
        ssize_t now = sendfile(pair[0], file, NULL, SIZE - sent);
        if (now <= 0)
            break;
        sent += (size_t)now;
    }
    VALUE("all of it", sent);
    shutdown(pair[0], SHUT_WR);
    pthread_join(thread, NULL);
    check_line("received", "%zu, %s", reader.length, memcmp(bytes, received, SIZE) == 0 ? "the same" : "different");
    tcp_close_pair(pair);

    tcp_pair(pair);
    tcp_nonblocking(pair[0]);
    ssize_t now;
    offset = 0;
    long total = 0;
    while ((now = sendfile(pair[0], file, &offset, SIZE)) > 0) {
        total += now;
        offset = 0;
    }
    check_result("a full connection", now, errno);
    IS("took some", total > 65536);
    CALL("from a socket", sendfile(pair[0], pair[1], NULL, 10));
    CALL("a negative offset", (offset = -1, sendfile(pair[0], file, &offset, 10)));
    tcp_close_pair(pair);
    int lonely = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    signal(SIGPIPE, SIG_IGN);
    offset = 0;
    CALL("not connected", sendfile(lonely, file, &offset, 10));
    tcp_pair(pair);
    close(pair[1]);
    tcp_poll_for(pair[0], POLLIN);
    CALL("to a peer that is gone", sendfile(pair[0], file, &offset, 10));
    tcp_poll_for(pair[0], POLLERR);
    CALL("and again", sendfile(pair[0], file, &offset, 10));
    return 0;
}
