-- By how much the clock was set back at most (microseconds), since the log began: its order and its times differ by that.
CREATE TABLE clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    set_back INTEGER NOT NULL
) STRICT;
INSERT INTO clock VALUES (1, 0);
