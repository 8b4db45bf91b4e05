/** A module with a main class. */
module app {
}
