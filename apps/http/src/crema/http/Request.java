package crema.http;

/**
 * A request that has come in completely, or what is wrong with it.
 *
 * @param status 200, or the status of the refusal
 * @param content the body that was kept; empty if there was none
 * @param digest SHA-256 of the body if that was asked for, or null
 * @param contentLength the body's length in bytes
 */
record Request(int status, String method, String path, boolean keepAlive, byte[] content, byte[] digest,
        long contentLength) {
    static final byte[] NOTHING = new byte[0];

    /** A request after which nothing else on the connection can be understood. */
    static Request refused(int status) {
        return new Request(status, "", "", false, NOTHING, null, 0);
    }
}
