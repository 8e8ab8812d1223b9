"""From the source to files: the chunks of a plan, read by several workers on one snapshot."""
