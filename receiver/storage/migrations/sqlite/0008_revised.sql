-- The last erasure that what a process holds in memory has followed to its end: of use where there are several.
ALTER TABLE processes ADD COLUMN revised TEXT;
