/** Tells the time; handed in so that a test can tell another. */
export type Clock = () => Date
