"""The way out: what was committed is rendered, signed, posted and its outcome recorded."""
